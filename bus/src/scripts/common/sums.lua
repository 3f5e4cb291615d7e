-- Returns `stored` and `count` together. Any client may have stored anything: what is no number from 0 on counts as 0. The
-- maximum has 14 digits, which cjson writes; it rounds a longer number.
local function sum(stored, count)
  local before = tonumber(stored)
  if not before or not (before >= 0) then before = 0 end
  return math.min(math.floor(before) + count, 99999999999999)
end

-- Adds `counts` to the sums in a field of a hash, and sets the `members` there. What another program put there is kept as
-- far as it can be written again. A field that cannot be read or written is left as it is.
local function add_to(hash, name, counts, members)
  local field = redis.pcall('HGET', hash, name)
  if type(field) == 'table' then return end
  local known, sums = pcall(cjson.decode, field)
  if not known or type(sums) ~= 'table' or #sums > 0 then sums = {} end
  for member, value in pairs(sums) do
    if not pcall(cjson.encode, { value }) then sums[member] = nil end
  end
  for member, count in pairs(counts) do sums[member] = sum(sums[member], count) end
  for member, value in pairs(members) do sums[member] = value end
  redis.pcall('HSET', hash, name, cjson.encode(sums))
end

