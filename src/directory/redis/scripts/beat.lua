-- Notes a worker's heartbeat.
-- KEYS: worker, seen, reports.  ARGV: worker id, incarnation, report, list digest, list term, memory (ms).
-- Answers 0: fenced; 1: noted, and the list is known; 2: noted, and the list is wanted.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id, incarnation, memory = ARGV[1], ARGV[2], tonumber(ARGV[6])

local known = redis.call('HMGET', KEYS[1], 'incarnation', 'list', 'listed_at', 'counted')
if known[1] and known[1] > incarnation then return 0 end

redis.call('HSET', KEYS[1], 'v', 1, 'incarnation', incarnation)
redis.call('ZADD', KEYS[2], now, id)
redis.call('HSET', KEYS[3], id, ARGV[3])
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - memory, 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[2], silent)
  redis.call('HDEL', KEYS[3], silent)
end
for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], memory) end

-- A release before `counted` took lists without noting it: such a list is wanted again.
if known[2] == ARGV[4] and known[4] and now < known[3] + ARGV[5] then return 1 end
return 2
