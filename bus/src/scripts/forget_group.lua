-- Removes the declaration of a group that no resource owns.
--
-- KEYS  groups
-- ARGV  group
-- Reply 1 if it was removed, 0 if there was none; else the declaration, which was left: it names an owner or is unreadable

local groups, group = KEYS[1], ARGV[1]

local function forget()
  local field = checked(redis.pcall('HGET', groups, group))
  if not field then return 0 end
  local known, declaration = pcall(cjson.decode, field)
  local unowned = known and type(declaration) == 'table'
    and (declaration.uid == nil or declaration.uid == cjson.null)
  if not unowned then return field end
  return checked(redis.pcall('HDEL', groups, group))
end

return protected(forget)
