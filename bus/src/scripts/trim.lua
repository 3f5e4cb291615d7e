-- Trims what every group has finished.
--
-- KEYS  stream, groups
-- ARGV  keep, slack, max_removed, missing_hold
-- Reply {removed, length, reason, subject, {released, …}}; reason is false, or why nothing was removed; subject is the group:
--   no-groups  there is no group, so no consumer could have read what would be removed
--   missing    this group is declared and does not exist
--   ahead      this group is past the stream's end: it belongs to another stream of this name
--   behind     this group needs one of the entries beyond keep
--   node       the finished entries share a node with others, and may not be read to remove them one by one; subject is
--              the mean number of entries in a node
-- released are declared groups without owner that were missing for missing_hold ms, and hold nothing back any more.

local stream, groups_hash = KEYS[1], KEYS[2]
local keep, slack, max_removed = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local missing_hold = tonumber(ARGV[4])
-- Maximum number of entries that are removed one by one.
local MAX_READ = 1000

-- Returns the declaration of a group that is missing since `now`.
local function with_missing_since(field, now)
  local members = without_missing_since(field):gsub('%s*}%s*$', '')
  local separator = members:find('^%s*{$') and '' or ','
  return ('%s%s"missingSince":%.0f}'):format(members, separator, now)
end

-- Returns whether a missing group holds trimming back. With an owner, or with a declaration that cannot be read and so may
-- have one, it always does; otherwise for `missing_hold` since this script first found it missing, which the declaration
-- keeps: where it cannot be written, or the time not be read, the group holds.
local function holds(name, field)
  local members = members_of(field)
  if not members or owner_of(members) ~= nil then return true end
  local time = redis.pcall('TIME')
  if time.err then return true end
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local since = tonumber(members.missingSince)
  -- A time in the future was written by a server whose clock was ahead.
  if not since or since > now then
    local written = redis.pcall('HSET', groups_hash, name, with_missing_since(field, now))
    if type(written) == 'table' then return true end
    since = now
  end
  return now - since < missing_hold
end

-- Returns a declared group that is missing and holds trimming back, or nil; and those that hold it no longer.
local function missing_groups(present)
  local holder, released = nil, {}
  local declared = checked(redis.pcall('HGETALL', groups_hash), groups_hash)
  for i = 1, #declared, 2 do
    local name, field = declared[i], declared[i + 1]
    if present[name] then
      local found = without_missing_since(field)
      if found ~= field then redis.pcall('HSET', groups_hash, name, found) end
    elseif holds(name, field) then
      holder = holder or name
    else
      released[#released + 1] = name
    end
  end
  return holder, released
end

-- Returns the oldest ID that a group needs, 'behind' and that group; or nil, the reason to trim nothing, and its group.
-- Last come the missing groups that hold nothing back any more.
local function floor_of(groups, last_generated)
  local floor, holder, present = nil, nil, {}
  for _, flat in ipairs(groups) do
    local g = record(flat)
    local needed = g['last-delivered-id']
    present[g.name] = true
    if before(last_generated, needed) then return nil, 'ahead', g.name, {} end
    -- A position that was set back leaves acknowledged entries to be read again, older than what is pending.
    if g.pending > 0 then
      local oldest = checked(redis.pcall('XPENDING', stream, g.name), stream)[2]
      if before(oldest, needed) then needed = oldest end
    end
    if not floor or before(needed, floor) then floor, holder = needed, g.name end
  end
  local missing, released = missing_groups(present)
  if missing then return nil, 'missing', missing, released end
  if not floor then return nil, 'no-groups', false, released end
  return floor, 'behind', holder, released
end

-- Removes finished entries one by one, of the `beyond` oldest. Whole nodes go first, but how many entries a node has is a
-- setting of the server: one may have all. Returns the number removed, and the number found finished if it is too small to
-- remove them; nil if they may not be read.
local function trim_exactly(floor, beyond, length)
  -- Nothing is before 0-0, and as an open end of a range it is an error.
  if floor == '0-0' then return 0, 0 end
  local max = math.min(beyond, page_size(stream, length, MAX_READ))
  local entries = redis.pcall('XRANGE', stream, '-', '(' .. floor, 'COUNT', max + 1)
  if entries.err then return 0, nil end
  if #entries < math.min(slack, max) then return 0, #entries end
  local first_kept = #entries > max and entries[max + 1][1] or floor
  return checked(redis.pcall('XTRIM', stream, 'MINID', first_kept), stream), #entries
end

local function trim()
  local length = checked(redis.pcall('XLEN', stream), stream)
  if length <= keep then return { 0, length, false, false, {} } end
  local info = record(checked(redis.pcall('XINFO', 'STREAM', stream), stream))
  local groups = checked(redis.pcall('XINFO', 'GROUPS', stream), stream)
  local floor, reason, group, released = floor_of(groups, info['last-generated-id'])
  if not floor then return { 0, length, reason, group, released } end
  local beyond = length - keep
  local limit = math.min(beyond, max_removed)
  local removed = checked(redis.pcall('XTRIM', stream, 'MINID', '~', floor, 'LIMIT', limit), stream)
  if removed > 0 or beyond < slack then return { removed, length - removed, false, false, released } end
  local found
  removed, found = trim_exactly(floor, beyond, length)
  if not found then
    reason, group = 'node', math.floor(length / info['radix-tree-keys'])
  -- The entry at the floor stays too, though the group may be past it.
  elseif removed > 0 or found + 1 >= beyond then
    reason, group = false, false
  end
  return { removed, length - removed, reason, group, released }
end

return protected(trim)
