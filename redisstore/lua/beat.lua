-- Records that an instance lives.
-- ARGV: random, id, description, lifetime in ms, acknowledged generation, known generation, known
-- incarnation
-- Returns the generation, the lowest acknowledged one, the incarnation; and if the known ones
-- differ, descriptions and acknowledged generations by id
local id, description = ARGV[2], ARGV[3]
local incarnation = ensure(ARGV[1])
local changed = incarnation == ARGV[1] -- the store was just created

for _, dead in ipairs(redis.call('ZRANGEBYSCORE', instances, '-inf', int(now), 'LIMIT', '0', '1000')) do
  redis.call('ZREM', instances, dead)
  redis.call('ZREM', acknowledged, dead)
  redis.call('HDEL', descriptions, dead)
  changed = true
end
if redis.call('ZADD', instances, int(now + tonumber(ARGV[4])), id) == 1 then changed = true end
if redis.call('HGET', descriptions, id) ~= description then
  redis.call('HSET', descriptions, id, description)
  changed = true
end

local generation
if changed then
  -- A store that has lost its records starts with a generation from the clock, which may be before the known
  -- one.
  local known = tonumber(ARGV[6]) or 0
  if known > tonumber(redis.call('HGET', records, '!generation')) then
    redis.call('HSET', records, '!generation', int(known))
  end
  generation = int(advance())
else
  generation = redis.call('HGET', records, '!generation')
end
-- A generation from before the loss of the store counts as none.
local own = ARGV[5]
if tonumber(own) > tonumber(generation) then own = '0' end
redis.call('ZADD', acknowledged, own, id)
local lowest = redis.call('ZRANGE', acknowledged, '0', '0', 'WITHSCORES')[2]

keep(records, HOUR)
keep(instances, HOUR)
keep(acknowledged, HOUR)
keep(descriptions, HOUR)
sweep(20)

-- After a restart or a failover, records that were acknowledged may be missing, as if the store
-- had lost all.
local server = redis.pcall('INFO', 'server')
if type(server) == 'string' then
  incarnation = incarnation .. '-' .. (string.match(server, 'run_id:(%w+)') or '')
end

local reply = {generation, int(tonumber(lowest)), incarnation}
if ARGV[6] ~= generation or ARGV[7] ~= incarnation then
  reply[4] = redis.call('HGETALL', descriptions)
  reply[5] = redis.call('ZRANGE', acknowledged, '0', '-1', 'WITHSCORES')
end
return reply
