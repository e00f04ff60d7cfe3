-- Notes how the creation of the environment that a key names went, unless that is another one, was made, or is over.
-- KEYS: launch, and where it was not made: keys.  ARGV: environment, made / not-made / open, key.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'environment', 'made', 'not_after')
if known[1] ~= ARGV[1] or known[2] or tonumber(known[3]) <= now then return end
if ARGV[2] == 'made' then
  redis.call('HSET', KEYS[1], 'made', 1)
elseif ARGV[2] == 'open' then
  redis.call('HSET', KEYS[1], 'until', now)
else
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[3])
end
