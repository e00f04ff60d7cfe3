-- Reserves one place in a tenant's quota. A repeat renews the term and never shortens it.
-- KEYS: quota.  ARGV: environment, limit, term (ms).
-- Answers 0: full; 1: granted.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local counted = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not counted and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end

redis.call('ZADD', KEYS[1], math.max(now + ARGV[3], tonumber(counted or 0)), ARGV[1])
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], last[2])
return 1
