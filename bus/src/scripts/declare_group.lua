-- Declares a group.
--
-- KEYS  groups
-- ARGV  group, declaration, replace_unowned
-- Reply 1 if the declaration was written, 0 if the one that is there suffices; else the one that is there, which was left:
--       another resource owns it, or it is unreadable

local groups, group, declaration, replace_unowned = KEYS[1], ARGV[1], ARGV[2], ARGV[3] == '1'

-- Returns what a declaration states, owner and types, as one text.
local function content(members)
  local parts = {}
  for _, name in ipairs({ 'uid', 'cluster', 'namespace', 'name' }) do
    parts[#parts + 1] = type(members[name]) == 'string' and members[name] or ''
  end
  for _, pattern in ipairs(type(members.types) == 'table' and members.types or {}) do parts[#parts + 1] = pattern end
  return cjson.encode(parts)
end

-- Returns whether a declaration may replace one that has an owner: by the same UID, or by the same name in the same
-- namespace of the same cluster. A resource that was deleted and created again has another UID, and the name is its own.
local function same_owner(current, new)
  if owner_of(current) == owner_of(new) then return true end
  if owner_of(new) == nil or type(new.name) ~= 'string' then return false end
  for _, part in ipairs({ 'cluster', 'namespace', 'name' }) do
    local a, b = current[part], new[part]
    if (type(a) == 'string' and a or '') ~= (type(b) == 'string' and b or '') then return false end
  end
  return true
end

local function declare()
  local field = checked(redis.pcall('HGET', groups, group))
  local replaces, text = true, declaration
  if field then
    local current, new = members_of(field), members_of(declaration)
    if not current then return field end
    if owner_of(current) ~= nil and not same_owner(current, new) then return field end
    replaces = (owner_of(new) ~= nil or replace_unowned) and content(current) ~= content(new)
    -- Whoever declares a group has just created or found it.
    if not replaces then text = without_missing_since(field) end
  end
  if text == field then return 0 end
  local written = redis.pcall('HSET', groups, group, text)
  if not replaces then return 0 end
  checked(written)
  return 1
end

return protected(declare)
