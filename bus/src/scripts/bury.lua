-- Stores an entry of mine as a dead letter, then acknowledges it: a refused write leaves it pending.
--
-- KEYS  stream, dead letters
-- ARGV  group, me, id, max length, (name, value) of the fields that tell why…
-- Reply 1, or 0 where it is not mine any more
local stream, dead_letters = KEYS[1], KEYS[2]
local group, me, id, longest = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
-- `unpack` fails near 8,000 values.
local MOST_FIELDS = 3900

local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
if not pending or pending[2] ~= me then return 0 end
local entry = redis.call('XRANGE', stream, id, id)[1]
local original = entry and entry[2] or {}

local fields = {}
for i = 5, #ARGV do fields[#fields + 1] = ARGV[i] end
if #original / 2 > MOST_FIELDS then
  fields[#fields + 1] = 'dlq.raw'
  fields[#fields + 1] = cmsgpack.pack(original)
else
  for i = 1, #original, 2 do
    if original[i]:sub(1, 4) ~= 'dlq.' then
      fields[#fields + 1] = original[i]
      fields[#fields + 1] = original[i + 1]
    end
  end
end
redis.call('XADD', dead_letters, 'MAXLEN', '~', longest, '*', unpack(fields))
redis.call('XACK', stream, group, id)
return 1
