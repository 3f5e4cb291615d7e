-- Claims due entries of a reserved consumer, the oldest first. Each claim counts as an attempt.
--
-- KEYS  source
-- ARGV  group, consumer, pool, max
-- Reply {{id, attempt, fields}…}; fields is false if the entry was trimmed, which also ends its being pending
local source, group, consumer, pool, max = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- Returns whether `list` alternates names and values. An event may have a field `dlq.raw` of its own, with anything in it.
local function are_fields(list)
  if type(list) ~= 'table' or #list % 2 ~= 0 then return false end
  for i = 1, #list do
    if type(list[i]) ~= 'string' then return false end
  end
  return true
end

-- Returns the original fields of a dead letter that has them packed in `dlq.raw`, then its own.
local function unpacked(fields)
  for i = 1, #fields, 2 do
    if fields[i] == 'dlq.raw' then
      local known, original = pcall(cmsgpack.unpack, fields[i + 1])
      if not known or not are_fields(original) then return fields end
      for j = 1, #fields do original[#original + 1] = fields[j] end
      return original
    end
  end
  return fields
end

local entries = {}
for _, entry in ipairs(redis.call('XPENDING', source, group, 'IDLE', 86400000, '-', '+', max, pool)) do
  local id, attempt = entry[1], clamped(entry[4]) + 1
  local claimed = redis.call('XCLAIM', source, group, consumer, 0, id, 'RETRYCOUNT', attempt)
  entries[#entries + 1] = { id, attempt, claimed[1] and unpacked(claimed[1][2]) or false }
end
return entries
