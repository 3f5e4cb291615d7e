-- Stores an entry that the caller holds as a dead letter, then acknowledges it: a refused write leaves it pending.
-- A replay that failed becomes a new dead letter in place of the old one. Beyond the maximum length the oldest dead letters
-- are dropped, and counted in the field `dead` of the consumers' hash.
--
-- KEYS  source, dead_letters, consumers
-- ARGV  group, consumer, id, max_length, {name, value}…
-- Reply {1, dropped}; {0, 0} if the caller does not hold the entry any more
local source, dead_letters, hash = KEYS[1], KEYS[2], KEYS[3]
local group, consumer, id, max_length = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local replay = source == dead_letters
-- `unpack` fails near 8,000 values.
local MAX_FIELDS = 3900
local MAX_DROPPED = 10000
-- Fields that a replayed dead letter keeps from the first time.
local KEPT = { ['dlq.id'] = true, ['dlq.first'] = true, ['dlq.raw'] = true }

local pending = redis.call('XPENDING', source, group, id, id, 1)[1]
if not pending or pending[2] ~= consumer then return { 0, 0 } end
local entry = redis.call('XRANGE', source, id, id)[1]
local original = entry and entry[2] or {}

local fields, kept, why = {}, {}, {}
if replay then
  for i = 1, #original, 2 do
    if KEPT[original[i]] then
      kept[original[i]] = true
      fields[#fields + 1] = original[i]
      fields[#fields + 1] = original[i + 1]
    end
  end
end
for i = 5, #ARGV, 2 do
  why[ARGV[i]] = ARGV[i + 1]
  if not kept[ARGV[i]] then
    fields[#fields + 1] = ARGV[i]
    fields[#fields + 1] = ARGV[i + 1]
  end
end
if #original / 2 > MAX_FIELDS then
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
local before = redis.call('XLEN', dead_letters)
-- Other clients wait meanwhile: a maximum that was lowered is reached in steps.
if before + 1 - MAX_DROPPED > tonumber(max_length) then
  max_length = string.format('%.0f', before + 1 - MAX_DROPPED)
end
-- Exactly: `~` removes whole nodes only, and a server may keep all entries in one.
redis.call('XADD', dead_letters, 'MAXLEN', max_length, '*', unpack(fields))
redis.call('XACK', source, group, id)
if replay then redis.call('XDEL', source, id) end
local replaced = replay and entry and 1 or 0
local dropped = before + 1 - replaced - redis.call('XLEN', dead_letters)
add_to(hash, 'dead', { stored = 1, dropped = dropped },
  { v = 1, lastTime = why['dlq.last'], lastReason = why['dlq.reason'] })
return { 1, dropped }
