-- Trims what every group has finished.
--
-- KEYS  stream, groups
-- ARGV  keep, max_removed, missing_hold
-- Reply {removed, length, reason, group, {released, …}}; reason is false, or why nothing more was removed:
--   no-groups  there is no group, so no consumer could have read what would be removed
--   missing    this group is declared and does not exist
--   ahead      this group is past the stream's end: it belongs to another stream of this name
--   behind     this group needs the oldest entry
-- released are declared groups without owner that were missing for missing_hold ms, and hold nothing back any more.

local stream, groups_hash = KEYS[1], KEYS[2]
local keep, max_removed, missing_hold = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

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

local function trim()
  local length = checked(redis.pcall('XLEN', stream), stream)
  if length <= keep then return { 0, length, false, false, {} } end
  local last_generated = record(checked(redis.pcall('XINFO', 'STREAM', stream), stream))['last-generated-id']
  local groups = checked(redis.pcall('XINFO', 'GROUPS', stream), stream)
  local floor, reason, group, released = floor_of(groups, last_generated)
  if not floor then return { 0, length, reason, group, released } end
  local limit = math.min(length - keep, max_removed)
  local removed = checked(redis.pcall('XTRIM', stream, 'MINID', '~', floor, 'LIMIT', limit), stream)
  if removed > 0 or floor == last_generated then reason, group = false, false end
  return { removed, length - removed, reason, group, released }
end

return protected(trim)
