// Every function of the library once, against the real thing: what the other scenarios stand on.
//
// Behind the gateways stands the fixture `everything`, whose tools ask in the middle of a call and mark arguments.

import { check, sleep } from 'k6';
import { Counter } from 'k6/metrics';
import { Client, TASKS } from '../lib/client.js';
import { Environment, launchMany } from '../lib/environment.js';
import { encoded } from '../lib/headers.js';
import { callAnswering } from '../lib/input.js';
import { listen } from '../lib/listen.js';
import { persistently } from '../lib/retry.js';
import { OPTIONS, begin } from '../lib/run.js';
import { messages } from '../lib/sse.js';
import { summary } from '../lib/summary.js';
import { cancelTask, getTask, taskOf, waitForTask } from '../lib/tasks.js';
import { newTrace } from '../lib/trace.js';

const LISTEN_SECONDS = 3;
const steps = new Counter('smoke_steps');

export const options = {
  ...OPTIONS,
  scenarios: { smoke: { executor: 'per-vu-iterations', vus: 1, iterations: 1, maxDuration: '60s' } },
  thresholds: { checks: ['rate==1'], smoke_steps: ['count==8'] },
};

export function setup() {
  begin();
}

export default async function smoke() {
  const client = new Client({ capabilities: { elicitation: {}, sampling: {}, roots: {}, extensions: { [TASKS]: {} } } });
  for (const step of [framing, mirrors, handles, refusals, questions, tasks, traces]) step(client);
  await subscriptions(client);
}

function expect(what, value) {
  if (!check(value, { [what]: Boolean })) console.error(`not so: ${what}`);
}

function framing() {
  const stream = ': alive\n\ndata: {"a":1}\n\nevent: message\ndata: {"b":\ndata: 2}\n\ndata: {"cut';
  expect('an event stream is read as far as it came', JSON.stringify(messages(stream)) === '[{"a":1},{"b":2}]');
  const values = ['us-west1', '', ' padded', 'ü', 'a\nb', '=?base64?literal?='];
  const seen = values.map(encoded).filter((it, i) => it === values[i]).length;
  expect('plain values go plain, all others encoded', seen === 2 && encoded('ü') === '=?base64?w7w=?=');
  steps.add(1);
}

function mirrors(client) {
  const tools = client.learnTools();
  const marked = tools.find((tool) => tool.name.endsWith('test_custom_header'));
  for (const value of ['plain', ' padded ', 'grüße']) {
    const answer = client.call(marked.name, { value });
    expect(`a marked argument is mirrored: ${value}`, answer.kind === 'done' && answer.result.content[0].text === value);
  }
  const silent = new Client();
  expect('without its header it is refused', silent.call(marked.name, { value: 'x' }).code === -32020);
  steps.add(1);
}

function handles(client) {
  const [id] = launchMany(client, 1, 'x = 41');
  const environment = new Environment(client, id);
  expect('variables stay', environment.python('x + 1').result.structuredContent.executionResult === '42');
  expect('a shell runs', environment.shell('echo hi').result.structuredContent.stdout === 'hi\n');
  expect('code that raises is final', environment.python('1/0').kind === 'failed');
  const keyed = persistently((key) => environment.shell('echo once', { key }), { key: 'smoke-1' });
  expect('a keyed call runs', keyed.kind === 'done' && keyed.attempts === 1);
  expect('an environment closes', environment.close().kind === 'done');
  expect('a closed one is gone', environment.python('x').executed === 'no');
  steps.add(1);
}

// Against answers made here: what may be sent again does not depend on a fault's coming at the right moment.
function refusals() {
  const sends = (key, ...kinds) => persistently(() => ({ waitMs: 1, kind: kinds.shift() || 'done' }), { key }).attempts;
  expect('what was refused is sent again', sends(undefined, 'refused', 'refused') === 3);
  expect('what may have run is not', sends(undefined, 'unknown') === 1);
  expect('under a key it is', sends('k', 'unknown') === 2);
  expect('what failed is final', sends('k', 'failed') === 1);
  expect('a notice is for the caller', sends('k', 'notice') === 1);
  steps.add(1);
}

function questions(client) {
  const asking = (name) => client.learnTools().find((tool) => tool.name.endsWith(name)).name;
  const accept = () => ({ action: 'accept', content: { name: 'Ada', ok: true } });
  const named = callAnswering(client, asking('test_input_required_result_elicitation'), {}, accept);
  expect('a question is answered', named.rounds === 2 && named.result.content[0].text === 'Hello, Ada!');
  const known = callAnswering(client, asking('test_input_required_result_request_state'), {}, accept);
  expect('a state is handed back unread', known.rounds === 2 && known.result.content[0].text === 'state-ok');
  steps.add(1);
}

function tasks(client) {
  const environment = Environment.launch(client);
  const long = taskOf(environment.shell('sleep 2; echo late'));
  expect('a long call becomes a task', long !== null && long.status === 'working');
  const ended = waitForTask(client, long);
  expect('it completes with its result', ended.result.status === 'completed' && ended.result.result.structuredContent.stdout === 'late\n');
  const endless = taskOf(environment.shell('sleep 600'));
  expect('a task is cancelled', cancelTask(client, endless.taskId).kind === 'done');
  waitForTask(client, endless);
  expect('and stays so', getTask(client, endless.taskId).result.status === 'cancelled');
  environment.close();
  steps.add(1);
}

function traces(client) {
  const { traceId, traceparent } = newTrace();
  expect('a trace context is well-formed', new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`).test(traceparent));
  const environment = Environment.launch(client);
  const inside = environment.shell('echo $TRACEPARENT');
  expect('code finds the trace of its call', /^00-[0-9a-f]{32}-/.test(inside.result.structuredContent.stdout));
  environment.close();
  steps.add(1);
}

async function subscriptions(client) {
  const environment = Environment.launch(client);
  const uri = `baton://environments/${environment.id}`;
  const stream = listen(client, { resourcesListChanged: true, resourceSubscriptions: [uri] }, LISTEN_SECONDS);
  sleep(1);
  environment.python('1');
  environment.close();
  const heard = await stream;
  const methods = heard.notifications.map((it) => it.method);
  expect('a listen is acknowledged first', heard.acknowledged.notifications.resourcesListChanged === true);
  expect('it tells of that environment', methods.includes('notifications/resources/updated'));
  expect('and of the list', methods.includes('notifications/resources/list_changed'));
  expect('each message carries its id', heard.allTagged);
  steps.add(1);
}

export function handleSummary(data) {
  return summary(data);
}
