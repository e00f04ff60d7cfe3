-- Forgets an environment, and for the settling term also every list that still has it.
-- KEYS: quota, record.  ARGV: environment, settling term (ms).
redis.call('ZREM', KEYS[1], ARGV[1])
local known = redis.call('HMGET', KEYS[2], 'epoch', 'released')
if known[1] and not known[2] then
  redis.call('HSET', KEYS[2], 'released', 1)
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
