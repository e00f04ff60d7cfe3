// One response, judged: what it is, whether the code ran, and whether the same may be sent again.

import { messages } from './sse.js';

export const OUTCOME_UNKNOWN = 50201;

// `kind` is what a client has to tell apart:
//   done      a result
//   notice    the interpreter was restarted since the last call; nothing ran, and this is said once
//   refused   nothing ran, and it is worth coming back
//   failed    nothing more comes of sending this again
//   unknown   the connection broke, or somebody says that it may have run
export function judge(response, id) {
  const reply = message(response, id);
  const answer = {
    status: response.status,
    replica: response.headers['Baton-Replica'],
    retryAfter: response.headers['Retry-After'],
    waitMs: 0,
    milliseconds: response.timings.duration,
  };
  if (!reply) return { ...answer, kind: 'unknown', why: response.error || `HTTP ${response.status} without an answer` };
  if (reply.error) return { ...answer, ...ofError(reply.error, answer.retryAfter) };
  return { ...answer, result: reply.result, ...(reply.result.isError ? ofToolError(reply.result) : { kind: 'done' }) };
}

function ofError({ code, message: why, data = {} }, retryAfter) {
  const seconds = Number(retryAfter || 0);
  const waitMs = data.retryAfterMs || 1000 * seconds;
  return { code, why, executed: data.executed, waitMs, kind: kindOf(data, code) };
}

function ofToolError(result) {
  const said = result.structuredContent || {};
  const restarted = said.environment && said.environment.restarted;
  const why = ((result.content || [])[0] || {}).text;
  const kind = restarted && said.executed === 'no' ? 'notice' : kindOf(said, said.code);
  return { code: said.code, why, executed: said.executed, waitMs: said.retryAfterMs || 0, kind };
}

function kindOf({ executed, retryable }, code) {
  if (executed === 'maybe' || code === OUTCOME_UNKNOWN) return 'unknown';
  return executed === 'no' && retryable ? 'refused' : 'failed';
}

function message(response, id) {
  try {
    const type = response.headers['Content-Type'] || '';
    const all = type.startsWith('text/event-stream') ? messages(response.body) : [response.json()];
    const own = all.find((it) => it.id === id && (it.result || it.error));
    // A proxy in between has not read the body, so its refusal knows no id; the response is to this request all the same.
    return own || all.find((it) => it.id === undefined && it.error && response.status >= 400);
  } catch (_) {
    return undefined; // what is no JSON is no answer
  }
}
