-- Merges records, and appends those that changed something to the stream.
-- ARGV: random, id of the instance, maximum number of records; then of each record its field, its
-- lifetime in ms, its version, its value
ensure(ARGV[1])
local most = tonumber(ARGV[3])
local size = redis.call('HLEN', records)

-- evict removes the one of a few random records that expires first.
local function evict()
  local sample = redis.call('HRANDFIELD', records, 8, 'WITHVALUES')
  local first, ends
  for i = 1, #sample, 2 do
    if string.byte(sample[i]) ~= 33 then
      local expiry = tonumber(string.sub(sample[i + 1], 1, 13))
      if not ends or expiry < ends then first, ends = sample[i], expiry end
    end
  end
  if first then size = size - redis.call('HDEL', records, first) end
end

local entry, bytes, longest = {'!from', ARGV[2]}, 0, 0
for i = 4, #ARGV, 4 do
  local field, ttl, version, value = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3]
  local old = redis.call('HGET', records, field)
  local left, wins = 0, 1
  if old then
    left = tonumber(string.sub(old, 1, 13)) - now
    if left > 0 then wins = order(version, value, string.sub(old, 14, 29), string.sub(old, 30)) end
  end
  if wins > 0 or wins == 0 and ttl > left then
    if not old then
      if size >= most then evict() end
      size = size + 1
    end
    redis.call('HSET', records, field, digits(now + ttl) .. version .. value)
    longest = math.max(longest, ttl)
    -- Instances need not learn of a record that only expires slightly later.
    if wins > 0 or ttl - left > ttl / 20 then
      local payload = digits(ttl) .. version .. value
      entry[#entry + 1] = field
      entry[#entry + 1] = payload
      bytes = bytes + #field + #payload
    end
  end
end
keep(records, math.max(longest, HOUR))
if #entry > 2 then append(entry, bytes) end
sweep(math.min(1000, math.max(20, #ARGV)))
return redis.status_reply('OK')
