-- Drops the oldest entries of a full stream and counts what each group loses by it.
--
-- KEYS  stream, losses
-- ARGV  count, min_length
-- Reply {removed, length, {group, lost, …}, problem}
--   lost     entries that the group had not acknowledged: pending, or not delivered yet
--   problem  false, or why the losses could not be added to the hash; the entries are dropped all the same

local stream, losses, count, min_length = KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2])
local PAGE = 500

-- Drops entries, at most `max`: whole nodes if that removes any. Returns their IDs, the oldest first.
local function drop(max)
  local entries = checked(redis.pcall('XRANGE', stream, '-', '+', 'COUNT', max + 1))
  if #entries <= max then return {} end
  local first_kept = entries[max + 1][1]
  local removed = checked(redis.pcall('XTRIM', stream, 'MINID', '~', first_kept, 'LIMIT', max))
  if removed == 0 then removed = checked(redis.pcall('XTRIM', stream, 'MINID', first_kept)) end
  local ids = {}
  for i = 1, removed do ids[i] = entries[i][1] end
  return ids
end

-- Acknowledges the dropped entries that are pending in the group. Returns them as a set.
local function forget_pending(group, is_dropped, last)
  local forgotten, from = {}, '-'
  repeat
    local page, acknowledge = checked(redis.pcall('XPENDING', stream, group, from, last, PAGE)), {}
    for _, entry in ipairs(page) do
      if is_dropped[entry[1]] then
        acknowledge[#acknowledge + 1] = entry[1]
        forgotten[entry[1]] = true
      end
      from = '(' .. entry[1]
    end
    if #acknowledge > 0 then checked(redis.pcall('XACK', stream, group, unpack(acknowledge))) end
  until #page < PAGE
  return forgotten
end

local function lost_to(g, ids, is_dropped)
  local forgotten = g.pending > 0 and forget_pending(g.name, is_dropped, ids[#ids]) or {}
  local position, lost = padded(g['last-delivered-id']), 0
  for _, id in ipairs(ids) do
    if forgotten[id] or padded(id) > position then lost = lost + 1 end
  end
  return lost
end

local function drop_and_count()
  local length, counts, problem = checked(redis.pcall('XLEN', stream)), {}, false
  if length < min_length then return { 0, length, counts, problem } end
  local ids, is_dropped = drop(page_size(stream, length, count)), {}
  if #ids == 0 then return { 0, checked(redis.pcall('XLEN', stream)), counts, problem } end
  for _, id in ipairs(ids) do is_dropped[id] = true end
  for _, flat in ipairs(checked(redis.pcall('XINFO', 'GROUPS', stream))) do
    local g = record(flat)
    local lost = lost_to(g, ids, is_dropped)
    if lost > 0 then
      counts[#counts + 1] = g.name
      counts[#counts + 1] = lost
      local written = redis.pcall('HINCRBY', losses, g.name, lost)
      if type(written) == 'table' then problem = written.err end
    end
  end
  return { #ids, checked(redis.pcall('XLEN', stream)), counts, problem }
end

return protected(drop_and_count)
