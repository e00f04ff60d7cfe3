// The end of a run: a few lines for people, what held and what did not, and everything as k6 has it; the driver prints.

// `verdicts` are judgements over several metrics, which no threshold can hold: [holds, sentence].
export function summary(data, verdicts = () => []) {
  const metric = (name) => (data.metrics[name] || {}).values || {};
  const metrics = Object.entries(data.metrics).sort(([a], [b]) => (a < b ? -1 : 1));
  const lines = ['calls                         count   median ms       p95 ms       p99 ms       max ms'];
  for (const [name, { values, type }] of metrics) {
    if (type === 'trend' && name.startsWith('mcp_') && values.count > 0) {
      const times = ['med', 'p(95)', 'p(99)', 'max'].map((it) => values[it].toFixed(2).padStart(12));
      lines.push(`${name.padEnd(24)} ${String(values.count).padStart(10)}${times.join(' ')}`);
    }
  }
  for (const [name, { values, type }] of metrics) {
    const ours = name.startsWith('mcp_') || name.startsWith('append_');
    if (type === 'counter' && ours) lines.push(`${name.padEnd(60)} ${String(values.count).padStart(8)}`);
  }
  const all = [...thresholds(metrics), ...verdicts(metric)].map(([holds, sentence]) => ({ holds, sentence }));
  return { [__ENV.SUMMARY]: JSON.stringify({ lines, verdicts: all, metrics: data.metrics }, null, 1) };
}

function thresholds(metrics) {
  return metrics.flatMap(([name, { values, thresholds: rules = {} }]) =>
    Object.entries(rules).filter(([rule]) => !rule.endsWith('>=0')) // asks for figures, and judges nothing
      .map(([rule, { ok }]) => [ok, `${name} ${rule} (${figure(rule, values)})`]));
}

function figure(rule, values) {
  const value = values[rule.split(/[<>=!]/)[0].trim()];
  return value === undefined ? 'nothing measured' : String(Math.round(1000 * value) / 1000);
}
