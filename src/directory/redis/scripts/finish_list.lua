-- A worker's list has been taken over. If another list was taken over meanwhile, neither counts as known,
-- whichever of the two ends last: their steps may have interleaved.
-- KEYS: worker.  ARGV: list digest, whether nothing is left to settle (1 or 0).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local taking = redis.call('HGET', KEYS[1], 'taking')
if not taking then return end
-- All that it has counts in quotas now, whatever is left to settle.
if taking == ARGV[1] then redis.call('HSET', KEYS[1], 'counted', 1) end
if taking == ARGV[1] and ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], 'list', ARGV[1], 'listed_at', now)
else
  redis.call('HDEL', KEYS[1], 'list', 'listed_at')
  if taking ~= ARGV[1] then redis.call('HSET', KEYS[1], 'taking', '') end
end
