-- Removes an instance.
-- ARGV: random, id
ensure(ARGV[1])
if redis.call('ZREM', instances, ARGV[2]) == 1 then
  redis.call('ZREM', acknowledged, ARGV[2])
  redis.call('HDEL', descriptions, ARGV[2])
  advance()
end
return redis.status_reply('OK')
