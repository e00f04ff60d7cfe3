-- Notes that a replica no longer serves. Another url under its id is its successor, who goes on.
-- KEYS: replicas, urls.  ARGV: id, url.
if redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[2] then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
end
