-- Common to all scripts. Every script declares the same keys. They have one hash tag, and so are in one slot.
--
-- records       hash: fields of records are "<length of topic>:<topic><key>", and their values
--               13 digits of the time of expiry in ms, 16 hex digits of the version, and the value.
--               Fields that begin with "!" describe the store itself.
-- changes       stream: an entry for each batch of records that changed something. Its field "!"
--               counts the entries, so that a reader notices if some are missing.
-- instances     sorted set: ids of instances, by the time until which they live
-- acknowledged  sorted set: ids of instances, by the generation that they have applied
-- descriptions  hash: descriptions of instances, by id
--
-- Times are those of Redis, so that instances need no common clock. Numbers become arguments
-- through int, since the conversion of Lua may use an exponent.
local records, changes, instances, acknowledged, descriptions = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local HOUR = 3600000
local MAX_ENTRIES = 10000          -- of the stream
local MIN_ENTRIES = 50
local STREAM_BYTES = 33554432      -- about what the entries may take together

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function int(n) return string.format('%.0f', n) end

local function digits(n) return string.format('%013.0f', math.min(n, 9999999999999)) end

-- order compares two records of a key. The result is positive if the first wins, and 0 if they are equal. It
-- does not use Lua's comparison of strings, which depends on the locale of the server.
local function order(version, value, otherVersion, otherValue)
  if version ~= otherVersion then
    local a, b = tonumber(string.sub(version, 1, 8), 16), tonumber(string.sub(otherVersion, 1, 8), 16)
    if a == b then
      a, b = tonumber(string.sub(version, 9, 16), 16), tonumber(string.sub(otherVersion, 9, 16), 16)
    end
    return a - b
  end
  if value == otherValue then return 0 end
  local i = 1
  while string.sub(value, i, i + 63) == string.sub(otherValue, i, i + 63) do i = i + 64 end
  for j = i, math.min(#value, #otherValue) do
    local a, b = string.byte(value, j), string.byte(otherValue, j)
    if a ~= b then return a - b end
  end
  return #value - #otherValue
end

-- ensure creates the fields of the store if there are none: Redis is empty, or has lost its records. It
-- returns the incarnation of the records.
local function ensure(random)
  local incarnation = redis.call('HGET', records, '!incarnation')
  if not incarnation then
    incarnation = random
    redis.call('DEL', changes)
    redis.call('HSET', records, '!incarnation', random, '!generation', int(now))
  end
  return incarnation
end

-- keep lets a key expire, in the given time at the earliest, so that the keys of a fleet that has ended are
-- removed.
local function keep(key, ms)
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, int(ms + HOUR)) end
end

-- append adds an entry to the stream. bytes is the size of its records: the average size of entries determines
-- how many the stream keeps.
local function append(fields, bytes)
  local state = redis.call('HMGET', records, '!entries', '!bytes', '!last')
  local number = (tonumber(state[1]) or 0) + 1
  local average = tonumber(state[2]) or 0
  average = math.ceil(average + (bytes - average) / 16)
  local most = math.max(MIN_ENTRIES, math.min(MAX_ENTRIES, math.floor(STREAM_BYTES / math.max(average, 1))))
  local id = '*'
  if state[3] and redis.call('PTTL', changes) == -2 then -- the stream was lost; its readers wait for ids after its last entry
    id = int(math.max(now, tonumber(string.match(state[3], '%d+')) + 1)) .. '-0'
  end
  id = redis.call('XADD', changes, 'MAXLEN', '~', int(most), id, '!', int(number), unpack(fields))
  redis.call('HSET', records, '!entries', int(number), '!bytes', int(average), '!last', id)
  keep(changes, HOUR)
end

-- advance begins a new generation, and appends an entry that announces it. It returns the generation.
local function advance()
  local generation = redis.call('HINCRBY', records, '!generation', 1)
  append({'!instances', ''}, 0)
  return generation
end

-- sweep removes expired records among the next ones, from where the previous sweep ended.
local function sweep(count)
  local page = redis.call('HSCAN', records, redis.call('HGET', records, '!sweep') or '0', 'COUNT', int(count))
  for i = 1, #page[2], 2 do
    local field = page[2][i]
    if string.byte(field) ~= 33 and tonumber(string.sub(page[2][i + 1], 1, 13)) <= now then
      redis.call('HDEL', records, field)
    end
  end
  redis.call('HSET', records, '!sweep', page[1])
end
