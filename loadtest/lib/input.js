// Multi round-trip requests: what the server asks in the middle of a call is answered, and the call sent again.

const ROUNDS = 8;

// `answerTo` gives the client's result for one input request. The retry is a new request that carries the answers and,
// unread, the state (patterns/mrtr, "Client Requirements").
export function callAnswering(client, name, args, answerTo) {
  let more = {};
  for (let round = 1; round <= ROUNDS; round += 1) {
    const answer = client.call(name, args, { more });
    if (answer.kind !== 'done' || answer.result.resultType !== 'input_required') return { ...answer, rounds: round };
    const { inputRequests = {}, requestState } = answer.result;
    const asked = Object.entries(inputRequests);
    more = {
      ...(asked.length > 0 ? { inputResponses: Object.fromEntries(asked.map(([id, request]) => [id, answerTo(request)])) } : {}),
      ...(requestState === undefined ? {} : { requestState }),
    };
  }
  return { kind: 'failed', why: `${name} still asks after ${ROUNDS} rounds`, rounds: ROUNDS };
}
