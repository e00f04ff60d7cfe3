-- Notes that the directory is complete, if a list of each of these workers was taken since it last forgot them.
-- KEYS: complete, worker, worker, ...  ARGV: memory (ms).
-- Answers since when it is complete (ms), or 0 if it is not, and which of the workers, from 1, are missing.
local time = redis.call('TIME')
local since = redis.call('GET', KEYS[1])
if not since then
  local missing = {}
  for i = 2, #KEYS do
    if not redis.call('HGET', KEYS[i], 'counted') then missing[#missing + 1] = i - 1 end
  end
  if #missing > 0 then return {0, missing} end
  since = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
redis.call('SET', KEYS[1], since, 'PX', ARGV[1])
return {tonumber(since), {}}
