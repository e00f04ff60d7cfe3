-- Counts one request in each of a tenant's rates, or in none of them if one is used up (GCRA).
-- KEYS: rate, rate, ...  ARGV: interval, window (µs) for each.
-- Answers whether it was counted (1 or 0), and how much of each is in use: the time (µs) until nothing is.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local used, granted = {}, 1
for i = 1, #KEYS do
  local interval, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local until_ = tonumber(redis.call('GET', KEYS[i]) or now)
  -- Never beyond the window: after a failover the clock may be behind, and rates may be set anew. It is put right for
  -- good, whether or not this one passes: else all are refused until the old moment, whatever wait they are told.
  if until_ - now > window then
    until_ = now + window
    redis.call('SET', KEYS[i], string.format('%.0f', until_), 'PX', math.ceil(window / 1000))
  end
  used[i] = math.max(until_ - now, 0)
  if used[i] + interval > window then granted = 0 end
end
if granted == 1 then
  for i = 1, #KEYS do
    used[i] = used[i] + ARGV[2 * i - 1]
    redis.call('SET', KEYS[i], string.format('%.0f', now + used[i]), 'PX', math.ceil(used[i] / 1000))
  end
end
return {granted, used}
