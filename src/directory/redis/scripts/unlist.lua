-- Releases environments of one tenant that a worker no longer lists, if they are still said to live there and
-- were not placed within the settling term: the list may be older.
-- KEYS: quota, record, record, ...  ARGV: worker, settling term (ms), then environment and the moment it came
-- into the worker's index for each record.
-- Answers for each 0: too new to tell; 1: the worker does not hold it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local worker, settling = ARGV[1], ARGV[2]

local function unlist(record, environment, indexed_at)
  local known = redis.call('HMGET', record, 'worker', 'since', 'released')
  if known[3] or (known[1] and known[1] ~= worker) then return 1 end
  -- Without a record it may be about to be placed: the index is written first.
  if now < (known[2] or indexed_at) + settling then return 0 end
  if known[1] then
    redis.call('ZREM', KEYS[1], environment)
    redis.call('HSET', record, 'released', 1)
    redis.call('PEXPIRE', record, settling)
  end
  return 1
end

local answers = {}
for i = 2, #KEYS do
  answers[i - 1] = unlist(KEYS[i], ARGV[2 * i - 1], ARGV[2 * i])
end
return answers
