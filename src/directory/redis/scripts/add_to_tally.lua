-- Adds to a tally, once for each operation. Totals stay text: a Lua number would round them.
-- KEYS: tally.  ARGV: operation's digest, amount, term (ms), most operations.
-- Answers what came of it, and the total where there is one.
local operation = 'o:' .. ARGV[1]
local known = redis.call('HMGET', KEYS[1], 'total', operation)
if not known[1] then return {'lost'} end
if known[2] then return {'repeated', known[2]} end
-- Two fields are not operations: the version and the total.
if redis.call('HLEN', KEYS[1]) - 2 >= tonumber(ARGV[4]) then return {'full'} end

local added = redis.pcall('HINCRBY', KEYS[1], 'total', ARGV[2])
if type(added) == 'table' then
  if string.find(added.err, 'would overflow', 1, true) then return {'overflow'} end
  return added
end
local total = redis.call('HGET', KEYS[1], 'total')
redis.call('HSET', KEYS[1], operation, total)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'added', total}
