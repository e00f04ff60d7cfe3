// What every TypeScript client must be able to do: journey.py said again for the other language.
//
// An agent here is any SDK client behind these members:
//   era                                        'modern' or 'legacy'
//   tools()                                    names of the listed tools, in the server's order
//   call(tool, arguments, {progress, timeout, signal})  the result; timeout in milliseconds
//   isTimeout(error), isUnknownTool(error)     how this SDK says so

const { expect } = require('./report');

const TOOLS = [
  'launchShell',
  'launchPythonEnvironment',
  'runPythonCodeInRemoteEnvironment',
  'runShellCommandInRemoteEnvironment',
  'closeEnvironment',
  'listEnvironments',
];
const SLOW_LINES = "import time\nfor i in range(4):\n    print('line', i, flush=True)\n    time.sleep(0.5)\n";

const textOf = (result) => result.content.filter((block) => block.type === 'text').map((block) => block.text).join('\n');

async function journey(agent, report, authenticated) {
  let environmentId;
  const python = (pythonCode, options = {}, more = {}) =>
    agent.call('runPythonCodeInRemoteEnvironment', { environmentId, pythonCode, ...more }, options);
  const shell = (more) => agent.call('runShellCommandInRemoteEnvironment', { environmentId, ...more }, {});
  const value = (result) => String(result.structuredContent.executionResult);

  await report.check('lists the environment tools', async () => {
    const listed = await agent.tools();
    const missing = TOOLS.filter((name) => !listed.includes(name));
    expect(missing.length === 0, `missing ${missing}`);
  });

  await report.check('launches an environment', async () => {
    const launched = await agent.call('launchShell', {}, {});
    expect(!launched.isError, textOf(launched));
    environmentId = launched.structuredContent.environmentId;
    expect(/^bte_.{60}$/.test(environmentId), `not a handle: ${environmentId}`);
    expect(textOf(launched).includes(environmentId), 'the text hides the handle from a model');
  });

  await report.check('launchPythonEnvironment is another name of it', async () => {
    const other = (await agent.call('launchPythonEnvironment', {}, {})).structuredContent.environmentId;
    expect(other !== environmentId, 'two launches gave one environment');
    await agent.call('closeEnvironment', { environmentId: other }, {});
  });

  await report.check('sets a variable', async () => {
    const result = await python("carried = 41\nprint('set')");
    expect(!result.isError && result.structuredContent.stdout.trim() === 'set', result);
  });

  await report.check('reads it in the next call, as the value of the last expression', async () => {
    const result = await python('carried + 1');
    expect(value(result) === '42', result);
    expect(textOf(result).includes('42'), `not in the text: ${textOf(result)}`);
  });

  await report.check('an exception comes back with its traceback', async () => {
    const result = await python('1/0');
    expect(result.isError === true && result.structuredContent.stderr.includes('ZeroDivisionError'), result);
  });

  await report.check('runs a shell command as a string', async () => {
    const { stdout, exitCode } = (await shell({ shellCommand: 'echo out; exit 3' })).structuredContent;
    expect(stdout.trim() === 'out' && exitCode === 3, { stdout, exitCode });
  });

  await report.check('runs a shell command as a list, without a shell in between', async () => {
    const { stdout } = (await shell({ execCommandAndArgs: ['printf', '%s|', 'a b', '$HOME'] })).structuredContent;
    expect(stdout === 'a b|$HOME|', stdout);
  });

  await report.check('an invented environment is a tool error that names launchShell', async () => {
    const result = await agent.call(
      'runPythonCodeInRemoteEnvironment', { environmentId: 'my-session', pythonCode: '1' }, {});
    expect(result.isError === true && textOf(result).includes('launchShell'), result);
  });

  await report.check('an unknown tool is an error of the protocol', async () => {
    let result;
    try {
      result = await agent.call('noSuchTool', {}, {});
    } catch (error) {
      expect(agent.isUnknownTool(error), `other error: ${error}`);
      return;
    }
    throw new Error(`a result instead: ${JSON.stringify(result)}`);
  });

  await report.check('stdout arrives as progress while the code runs', async () => {
    const seen = [];
    const progress = (update) => seen.push({ at: Date.now(), ...update });
    const result = await python(SLOW_LINES, { progress });
    const ended = Date.now();
    expect(!result.isError, textOf(result));
    const streamed = seen.map((update) => update.message ?? '').join('');
    expect(streamed.includes('line 0') && streamed.includes('line 3'), `progress was ${JSON.stringify(seen)}`);
    expect(ended - seen[0].at > 1000, `the first came ${ended - seen[0].at} ms before the result of 2 s of work`);
    expect(seen.every((update, i) => i === 0 || update.progress > seen[i - 1].progress), 'progress must rise');
  });

  // A modern client closes the stream, which cancels; a legacy call runs on to its own limit.
  const limit = { timeoutSeconds: agent.era === 'modern' ? 30 : 4 };
  const usableAgain = async () => {
    const began = Date.now();
    const result = await python('carried');
    expect(value(result) === '41', result);
    expect(Date.now() - began < 8000, `the next call waited ${Date.now() - began} ms`);
  };

  await report.check('a timeout of the client leaves the environment usable', async () => {
    let error;
    await python('import time\ntime.sleep(30)', { timeout: 1500 }, limit).catch((caught) => { error = caught; });
    expect(error && agent.isTimeout(error), `no timeout but ${error}`);
    await usableAgain();
  });

  await report.check('a cancelled call leaves the environment usable', async () => {
    const cancel = new AbortController();
    const timer = setTimeout(() => cancel.abort('enough'), 1000);
    let error;
    await python('import time\ntime.sleep(30)', { signal: cancel.signal }, limit).catch((caught) => { error = caught; });
    clearTimeout(timer);
    expect(error, 'it was not cancelled');
    await usableAgain();
  });

  await report.check("listEnvironments shows one's own, and none to the anonymous", async () => {
    const { environments } = (await agent.call('listEnvironments', {}, {})).structuredContent;
    expect(authenticated ? environments.length > 0 : environments.length === 0, environments);
  });

  await report.check('closes the environment, and a call after that says so', async () => {
    const closed = await agent.call('closeEnvironment', { environmentId }, {});
    expect(!closed.isError, textOf(closed));
    const result = await python('carried');
    expect(result.isError === true && textOf(result).includes('launchShell'), result);
  });
}

module.exports = { journey };
