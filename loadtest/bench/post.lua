-- wrk POSTs the bodies of a file in turn, and says as JSON how it went.
--
-- BODIES and HEADERS name files, one to a line. With EXPECT, a body without that text is a failure; looking costs
-- the driver time, so it is for calls that are slow enough.

local requests, turn, threads = {}, 0, {}
failures = 0 -- global: `done` asks each thread for it

local function lines(name)
  local all = {}
  for line in io.lines(os.getenv(name)) do all[#all + 1] = line end
  return all
end

function setup(thread)
  threads[#threads + 1] = thread
end

function init()
  for _, line in ipairs(lines("HEADERS")) do
    local name, value = line:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
  end
  for _, body in ipairs(lines("BODIES")) do requests[#requests + 1] = wrk.format("POST", nil, nil, body) end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

local expected = os.getenv("EXPECT")
if expected then
  function response(_, _, body)
    if not body:find(expected, 1, true) then failures = failures + 1 end
  end
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  for _, thread in ipairs(threads) do failed = failed + thread:get("failures") end
  io.write(string.format('\n{"calls": %d, "seconds": %.6f, "failed": %d, "min": %d, "p50": %d, "p95": %d, "p99": %d}\n',
    summary.requests, summary.duration / 1e6, failed, latency.min,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
