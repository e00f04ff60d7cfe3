-- Takes entries out of a worker's index, unless they were written anew since they were read.
-- KEYS: index.  ARGV: environment and entry for each.
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
