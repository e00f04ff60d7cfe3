-- Notes where environments of one tenant live.
-- KEYS: quota, record, record, ...  ARGV: worker, then environment, owner, epoch, not-after (ms) for each record.
-- Answers for each 0: a newer placement is known, or this one is over; 1: noted; 2: released a moment ago.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local worker = ARGV[1]

local function place(record, environment, owner, epoch, not_after)
  if tonumber(not_after) <= now then return 0 end
  local known = redis.call('HMGET', record, 'epoch', 'worker', 'since', 'not_after', 'released')
  if known[1] and known[1] > epoch then return 0 end
  local same = known[1] == epoch
  if same and known[5] then return 2 end
  if same and known[2] ~= worker then return 0 end

  if not same or known[4] ~= not_after then
    redis.call('DEL', record)
    redis.call('HSET', record, 'v', 1, 'worker', worker, 'epoch', epoch, 'owner', owner,
      'since', same and known[3] or now, 'not_after', not_after)
    redis.call('PEXPIREAT', record, not_after)
  end
  redis.call('ZADD', KEYS[1], not_after, environment)
  return 1
end

local answers = {}
for i = 2, #KEYS do
  local a = 4 * i - 6
  answers[i - 1] = place(KEYS[i], ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if last[2] then redis.call('PEXPIREAT', KEYS[1], last[2]) end
return answers
