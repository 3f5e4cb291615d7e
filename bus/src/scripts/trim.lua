-- Trims what every group has finished with.
--
-- KEYS  stream, hash of declared groups
-- ARGV  entries to keep, most entries to remove
--
-- Answers {removed, length, reason, group}; reason: false, or why no more was removed
--   no-groups   nobody could have read what would be removed
--   missing     this group is declared and not there: it is to come
--   ahead       this group stands past the stream: it belongs to another one, or to what the stream was
--   behind      this group holds the oldest entry that is still needed

local stream, declared = KEYS[1], KEYS[2]
local keep, most = tonumber(ARGV[1]), tonumber(ARGV[2])

-- Returns the reply of a command on `key`, or raises its error, which names the key.
local function checked(key, reply)
  if type(reply) ~= 'table' or not reply.err then return reply end
  error({ err = reply.err .. ' (' .. key .. ')' })
end

local function record(flat)
  local fields = {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

-- Whether ID `a` comes before ID `b`. A part may need all of 64 bits, which a Lua number does not hold.
local function before(a, b)
  local function padded(id)
    local ms, seq = id:match('^(%d+)-(%d+)$')
    return ('0'):rep(20 - #ms) .. ms .. ('0'):rep(20 - #seq) .. seq
  end
  return padded(a) < padded(b)
end

-- The oldest entry that some group needs and that group, or a reason to trim nothing.
local function floor_of(groups, last_generated)
  local floor, holder, present = nil, nil, {}
  for _, flat in ipairs(groups) do
    local g = record(flat)
    local needed = g['last-delivered-id']
    present[g.name] = true
    if before(last_generated, needed) then return nil, 'ahead', g.name end
    -- A position that was set back leaves acknowledged entries to be read again, older than what is pending.
    if g.pending > 0 then
      local oldest = checked(stream, redis.pcall('XPENDING', stream, g.name))[2]
      if before(oldest, needed) then needed = oldest end
    end
    if not floor or before(needed, floor) then floor, holder = needed, g.name end
  end
  for _, name in ipairs(checked(declared, redis.pcall('HKEYS', declared))) do
    if not present[name] then return nil, 'missing', name end
  end
  if not floor then return nil, 'no-groups', false end
  return floor, 'behind', holder
end

local function trim()
  local length = checked(stream, redis.pcall('XLEN', stream))
  if length <= keep then return { 0, length, false, false } end
  local last_generated = record(checked(stream, redis.pcall('XINFO', 'STREAM', stream)))['last-generated-id']
  local floor, reason, group = floor_of(checked(stream, redis.pcall('XINFO', 'GROUPS', stream)), last_generated)
  if not floor then return { 0, length, reason, group } end
  local removed = checked(stream, redis.pcall('XTRIM', stream, 'MINID', '~', floor, 'LIMIT', math.min(length - keep, most)))
  if removed > 0 or floor == last_generated then reason, group = false, false end
  return { removed, length - removed, reason, group }
end

local ok, answer = pcall(trim)
if ok then return answer end
-- Some servers hand a caught error over as a text, some as the table that was thrown.
return type(answer) == 'table' and answer or redis.error_reply(answer)
