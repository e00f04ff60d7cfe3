-- The workers heard within the term.
-- KEYS: seen, reports.  ARGV: term (ms).
-- Answers age (ms), report, age, report, ...: ages, because the clock of whoever asks is another.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local after = string.format('(%.0f', now - ARGV[1])

local live = redis.call('ZRANGEBYSCORE', KEYS[1], after, '+inf', 'WITHSCORES')
local answer = {}
for i = 1, #live, 2 do
  answer[i] = string.format('%.0f', math.max(0, now - live[i + 1]))
  answer[i + 1] = redis.call('HGET', KEYS[2], live[i])
end
return answer
