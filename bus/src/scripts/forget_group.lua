-- Removes the declaration of a group that no resource owns.
--
-- KEYS  groups
-- ARGV  group
-- Reply 1 if it was removed, 0 if there was none; else the declaration, which was left: it names an owner or is unreadable

local groups, group = KEYS[1], ARGV[1]

local function forget()
  local field = checked(redis.pcall('HGET', groups, group))
  if not field then return 0 end
  local members = members_of(field)
  if not members or owner_of(members) ~= nil then return field end
  return checked(redis.pcall('HDEL', groups, group))
end

return protected(forget)
