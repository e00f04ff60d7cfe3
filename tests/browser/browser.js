// Serves page.js, starts a deployment that allows the page's origin, and opens the page in Chromium twice: as
// http://localhost:PORT, which is allowed, and as http://127.0.0.1:PORT, which is another origin and is not.
//
// The page tells its lines to its own server, so nothing of the browser but its address has to be driven. The port
// is taken before the gateways start: they are told of it by --allowed-origin.

const { spawn } = require('node:child_process');
const { mkdtempSync, rmSync } = require('node:fs');
const { createServer } = require('node:http');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const readline = require('node:readline');
const esbuild = require('esbuild');

const KEY = 'tests-only-key';
const TOPOLOGY = join(__dirname, '../topology.py');
const QUIET = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
];

class Pages {
  async open() {
    const options = {
      entryPoints: [join(__dirname, 'page.js')], bundle: true, write: false, format: 'iife', platform: 'browser',
      nodePaths: process.env.NODE_PATH.split(':'),
    };
    const built = await esbuild.build(options);
    this.files = {
      '/': ['text/html', '<!doctype html><meta charset="utf-8"><title>Baton</title><script src="/page.js"></script>'],
      '/page.js': ['text/javascript', built.outputFiles[0].text],
    };
    this.server = createServer((request, response) => this.answer(request, response));
    await new Promise((listening) => this.server.listen(0, '127.0.0.1', listening));
    return this.server.address().port;
  }

  async answer(request, response) {
    if (request.method === 'POST') {
      let line = '';
      for await (const part of request) line += part;
      response.end();
      if (request.url === '/done') this.done(Number(line));
      else console.log(line);
      return;
    }
    const [type, text] = this.files[request.url] ?? ['text/plain', 'nothing here'];
    response.writeHead(request.url in this.files ? 200 : 404, { 'content-type': type });
    response.end(text);
  }

  // Opens the page until it says that it is done; what it says is how many of its checks failed.
  async visit(host) {
    const profile = mkdtempSync(join(tmpdir(), 'baton-browser-'));
    const url = `http://${host}:${this.server.address().port}/`;
    const done = new Promise((resolve) => { this.done = resolve; });
    const chromium = spawn('chromium', [...QUIET, `--user-data-dir=${profile}`, url], { stdio: 'ignore' });
    const ended = new Promise((resolve) => { chromium.on('exit', resolve); chromium.on('error', resolve); });
    const early = ended.then((why) => { throw new Error(`chromium ended before the page did: ${why}`); });
    try {
      return await Promise.race([done, early]);
    } finally {
      early.catch(() => {});
      chromium.kill();
      await ended;
      await removed(profile);
    }
  }
}

// Chromium's helpers write into the profile for a moment after it has ended.
async function removed(folder) {
  for (let tries = 50; ; tries -= 1) {
    try {
      return rmSync(folder, { recursive: true, force: true });
    } catch (error) {
      if (tries === 0) throw error;
      await new Promise((resolve) => { setTimeout(resolve, 100); });
    }
  }
}

// A deployment that stays until it is interrupted; `environment` is what it prints when it serves.
async function deploy(origin) {
  const words = ['--api-key', KEY, '--gateways', '2', '--workers', '1', `--gateway-flag=--allowed-origin=${origin}`, ...process.argv.slice(2)];
  const child = spawn('python3', [TOPOLOGY, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.on('exit', (code) => resolve(code ?? 1)));
  const environment = {};
  for await (const line of readline.createInterface({ input: child.stdout })) {
    const [name, ...value] = line.split('=');
    environment[name] = value.join('=');
    if (name === 'MCP_REPLICAS') break;
  }
  process.on('exit', () => child.kill('SIGINT')); // also when we fail: it would stay
  const stop = () => { child.kill('SIGINT'); return ended; };
  return { environment, stop };
}

async function main() {
  const pages = new Pages();
  const port = await pages.open();
  const { environment, stop } = await deploy(`http://localhost:${port}`);
  let failed = 0;
  try {
    for (const host of ['localhost', '127.0.0.1']) {
      const about = { url: environment.MCP_URL, key: KEY, replicas: environment.MCP_REPLICAS.split(','), allowed: host === 'localhost' };
      pages.files['/about.json'] = ['application/json', JSON.stringify(about)];
      failed += await pages.visit(host);
    }
  } catch (error) {
    console.log(`FAIL browser: ${error.message}`);
    failed += 1;
  }
  const code = await stop();
  process.exit(failed ? 1 : code);
}

main();
