-- Returns a page of the records that have not expired.
-- ARGV: cursor of the page, about how many records
-- Returns the cursor of the next page, the number and the id of the latest entry of the stream, and
-- fields and values of records with lifetimes in place of times of expiry
local page = redis.call('HSCAN', records, ARGV[1], 'COUNT', ARGV[2])
local state = redis.call('HMGET', records, '!entries', '!last')
local reply = {}
for i = 1, #page[2], 2 do
  local field, value = page[2][i], page[2][i + 1]
  if string.byte(field) ~= 33 then
    local left = tonumber(string.sub(value, 1, 13)) - now
    if left > 0 then
      reply[#reply + 1] = field
      reply[#reply + 1] = digits(left) .. string.sub(value, 14)
    end
  end
end
return {page[1], state[1] or '0', state[2] or '0-0', reply}
