// The end of a run in a few lines for people, and everything as JSON for machines.

export function summary(data, replicas) {
  const metric = (name) => data.metrics[name]?.values ?? {};
  const hits = replicas.map((replica) => [replica, metric(`mcp_instance_hits{replica:${replica}}`).count ?? 0]);
  const total = hits.reduce((sum, [, count]) => sum + count, 0);
  const lines = ['scenario      calls/s   median ms     p95 ms     p99 ms     max ms'];
  for (const scenario of ['whoami', 'python']) {
    const time = metric(`http_req_duration{scenario:${scenario}}`);
    const rate = metric(`iterations{scenario:${scenario}}`).rate;
    lines.push([scenario.padEnd(10), fixed(rate, 1), fixed(time.med), fixed(time['p(95)']), fixed(time['p(99)']), fixed(time.max)].join(' '));
  }
  for (const [replica, count] of hits) {
    lines.push(`${replica.padEnd(12)} ${String(count).padStart(8)} calls, ${((100 * count) / total).toFixed(2)} %`);
  }
  const count = (name) => metric(name).count ?? 0;
  lines.push(`protocol errors ${count('mcp_protocol_errors')}, tool errors ${count('mcp_tool_errors')}, ` +
    `dropped ${count('dropped_iterations')}`);
  for (const [name, { thresholds }] of Object.entries(data.metrics)) {
    for (const [rule, { ok }] of Object.entries(thresholds ?? {})) {
      lines.push(`${ok ? 'ok' : 'FAIL'} load: ${name} ${rule}`);
    }
  }
  return { stdout: `${lines.join('\n')}\n`, [__ENV.SUMMARY || 'summary.json']: JSON.stringify(data, null, 1) };
}

function fixed(value, digits = 2) {
  return (value === undefined ? '-' : value.toFixed(digits)).padStart(10);
}
