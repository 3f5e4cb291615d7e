-- Trims what every group has finished.
--
-- KEYS  stream, groups
-- ARGV  keep, max_removed
-- Reply {removed, length, reason, group}; reason is false, or why nothing more was removed:
--   no-groups  there is no group, so no consumer could have read what would be removed
--   missing    this group is declared and does not exist
--   ahead      this group is past the stream's end: it belongs to another stream of this name
--   behind     this group needs the oldest entry

local stream, groups_hash = KEYS[1], KEYS[2]
local keep, max_removed = tonumber(ARGV[1]), tonumber(ARGV[2])

-- Returns the oldest ID that a group needs, 'behind' and that group; or nil, the reason to trim nothing, and its group.
local function floor_of(groups, last_generated)
  local floor, holder, present = nil, nil, {}
  for _, flat in ipairs(groups) do
    local g = record(flat)
    local needed = g['last-delivered-id']
    present[g.name] = true
    if before(last_generated, needed) then return nil, 'ahead', g.name end
    -- A position that was set back leaves acknowledged entries to be read again, older than what is pending.
    if g.pending > 0 then
      local oldest = checked(redis.pcall('XPENDING', stream, g.name), stream)[2]
      if before(oldest, needed) then needed = oldest end
    end
    if not floor or before(needed, floor) then floor, holder = needed, g.name end
  end
  for _, name in ipairs(checked(redis.pcall('HKEYS', groups_hash), groups_hash)) do
    if not present[name] then return nil, 'missing', name end
  end
  if not floor then return nil, 'no-groups', false end
  return floor, 'behind', holder
end

local function trim()
  local length = checked(redis.pcall('XLEN', stream), stream)
  if length <= keep then return { 0, length, false, false } end
  local last_generated = record(checked(redis.pcall('XINFO', 'STREAM', stream), stream))['last-generated-id']
  local floor, reason, group = floor_of(checked(redis.pcall('XINFO', 'GROUPS', stream), stream), last_generated)
  if not floor then return { 0, length, reason, group } end
  local limit = math.min(length - keep, max_removed)
  local removed = checked(redis.pcall('XTRIM', stream, 'MINID', '~', floor, 'LIMIT', limit), stream)
  if removed > 0 or floor == last_generated then reason, group = false, false end
  return { removed, length - removed, reason, group }
end

return protected(trim)
