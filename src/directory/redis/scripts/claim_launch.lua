-- Claims the creation of the environment that a key names. One that was never made is forgotten when its life is over.
-- KEYS: launch.  ARGV: environment, not-after (ms), term of the claim, term of the record (ms).
-- Answers what came of it, and the environment and not-after of the first claim.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'environment', 'not_after', 'until', 'made')
if known[4] then return {'made', known[1], known[2]} end

if not known[1] or tonumber(known[2]) <= now then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'v', 1, 'environment', ARGV[1], 'not_after', ARGV[2], 'until', now + ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  return {'yours', ARGV[1], ARGV[2]}
end
if known[1] ~= ARGV[1] and now < tonumber(known[3]) then return {'under-way', known[1], known[2]} end
redis.call('HSET', KEYS[1], 'until', now + ARGV[3])
return {'yours', known[1], known[2]}
