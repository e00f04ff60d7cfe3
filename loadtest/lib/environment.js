// One environment, by its handle: launched, called, closed, each through whichever replica the turn gives.

import { persistently } from './retry.js';

export class Environment {
  constructor(client, id) {
    Object.assign(this, { client, id });
  }

  // Sent again while it is refused; without one there is nothing to test.
  static launch(client, { tags } = {}) {
    const launched = persistently(() => client.call('launchShell', {}, { tags }));
    if (launched.kind !== 'done') throw new Error(`no environment: ${launched.code} ${launched.why}`);
    return new Environment(client, launched.result.structuredContent.environmentId);
  }

  python(pythonCode, options) {
    return this.client.call('runPythonCodeInRemoteEnvironment', { environmentId: this.id, pythonCode }, options);
  }

  shell(shellCommand, options) {
    return this.client.call('runShellCommandInRemoteEnvironment', { environmentId: this.id, shellCommand }, options);
  }

  close() {
    return this.client.call('closeEnvironment', { environmentId: this.id });
  }
}

// What every scenario's setup does: environments whose interpreters run. Handles only, for k6 hands them on as JSON.
export function launchMany(client, count, pythonCode = 'pass') {
  const handles = [];
  for (let i = 0; i < count; i += 1) {
    const environment = Environment.launch(client);
    const started = persistently(() => environment.python(pythonCode));
    if (started.kind !== 'done') throw new Error(`the environment does not run Python: ${started.why}`);
    handles.push(environment.id);
  }
  return handles;
}
