// subscriptions/listen. k6 hands a body over only at its end, so a stream is held for a time that is set beforehand and
// read whole when that is over; the VU works on meanwhile.

import http from 'k6/http';
import { messages } from './sse.js';

const SUBSCRIPTION = 'io.modelcontextprotocol/subscriptionId';

// Resolves to what was heard. Closing the stream is how a client ends it (patterns/subscriptions, "Cancellation"), so
// our own time limit is the ordinary end; `ended` says that the server closed it first, in order.
export async function listen(client, notifications, seconds) {
  const { id, body, headers } = client.prepare('subscriptions/listen', { notifications });
  const response = await http.asyncRequest('POST', client.url, body, {
    headers, timeout: `${Math.round(1000 * seconds)}ms`, tags: { held: 'yes' },
  });
  const heard = messages(response.body || '');
  return {
    id,
    acknowledged: (heard.shift() || {}).params,
    notifications: heard.filter((it) => it.method !== undefined),
    ended: heard.some((it) => it.id === id && it.result !== undefined),
    allTagged: heard.every((it) => ((it.params || it.result || {})._meta || {})[SUBSCRIPTION] === id),
  };
}
