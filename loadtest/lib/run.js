// What a scenario is told by loadtest/run, and how it tells that the load begins.

import http from 'k6/http';

// A number from the environment, within bounds.
export function setting(name, standard, least, most) {
  const value = Number(__ENV[name] || standard);
  if (!(value >= least && value <= most)) throw new Error(`${name} must be between ${least} and ${most}`);
  return value;
}

// Calls that come whether or not earlier ones are answered; `vus` bounds how many wait at once.
export function arrival(exec, rate, seconds, vus, more = {}) {
  return {
    executor: 'constant-arrival-rate', exec, rate, timeUnit: '1s', duration: `${seconds}s`,
    preAllocatedVUs: vus, maxVUs: vus, gracefulStop: '60s', ...more,
  };
}

// Thresholds that every scenario has: nothing fails, nothing is lost, and the load was really put on.
export const NOTHING_LOST = {
  mcp_failed: ['count==0'],
  mcp_unknown: ['count==0'],
  dropped_iterations: ['count==0'],
};

// k6 omits a metric that never got a sample from its thresholds' judgement: an empty run must not pass.
export function happened(...names) {
  return Object.fromEntries(names.map((name) => [name, ['count>0']]));
}

// k6 keeps figures of a part of the samples only where a threshold asks for it.
export function seen(...names) {
  return Object.fromEntries(names.map((name) => [name, [name.startsWith('mcp_served') ? 'max>=0' : 'count>=0']]));
}

export const OPTIONS = {
  summaryTrendStats: ['count', 'med', 'p(95)', 'p(99)', 'max'],
  setupTimeout: '120s',
  teardownTimeout: '120s',
  systemTags: ['scenario', 'status'],
};

// The last act of a setup: from now on faults happen at their times.
export function begin() {
  const told = http.post(`${__ENV.CONDUCTOR_URL}/began`, null, { tags: { held: 'yes' } });
  if (told.status !== 204) throw new Error(`the conductor does not answer: HTTP ${told.status} ${told.error}`);
}
