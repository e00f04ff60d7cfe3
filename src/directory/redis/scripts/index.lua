-- Notes in a worker's index that environments are, or are about to be, placed there.
-- KEYS: index.  ARGV: environment, tenant, not-after (ms) for each.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local until_ = now + 60000
for i = 1, #ARGV, 3 do
  -- What is over will not be placed.
  if tonumber(ARGV[i + 2]) > now then
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%s %.0f', ARGV[i + 1], now))
    until_ = math.max(until_, tonumber(ARGV[i + 2]))
  end
end
if now + redis.call('PTTL', KEYS[1]) < until_ then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', until_))
end
