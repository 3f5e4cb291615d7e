-- Takes entries that are due from those that nobody has in flight; each take is an attempt.
--
-- KEYS  stream or dead letters
-- ARGV  group, me, from (eventbus:delayed or eventbus:suspect), count
-- Reply {{id, attempt, fields}…}; without fields: trimmed meanwhile, and pending no more
local source, group, me, from = KEYS[1], ARGV[1], ARGV[2], ARGV[3]

-- Anybody may publish a field of that name: what is in it need not be names and values.
local function are_fields(list)
  if type(list) ~= 'table' or #list % 2 ~= 0 then return false end
  for i = 1, #list do
    if type(list[i]) ~= 'string' then return false end
  end
  return true
end

-- A dead letter of very many fields has them packed in one.
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
for _, entry in ipairs(redis.call('XPENDING', source, group, 'IDLE', 86400000, '-', '+', ARGV[4], from)) do
  local id, attempt = entry[1], entry[4] + 1
  local claimed = redis.call('XCLAIM', source, group, me, 0, id, 'RETRYCOUNT', attempt)
  entries[#entries + 1] = { id, attempt, claimed[1] and unpacked(claimed[1][2]) or false }
end
return entries
