-- Begins a tally at 0; one that is there stays as it is.
-- KEYS: tally.  ARGV: term (ms).
if redis.call('EXISTS', KEYS[1]) == 1 then return end
redis.call('HSET', KEYS[1], 'v', 1, 'total', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
