-- A worker's list is about to be taken over: until that is finished, no list is known.
-- KEYS: worker.  ARGV: incarnation, list digest, memory (ms).
-- Answers 0: fenced; 1: go on.
local known = redis.call('HGET', KEYS[1], 'incarnation')
if known and known > ARGV[1] then return 0 end

redis.call('HSET', KEYS[1], 'v', 1, 'incarnation', ARGV[1], 'taking', ARGV[2])
redis.call('HDEL', KEYS[1], 'list', 'listed_at')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
