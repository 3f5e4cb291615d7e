-- Returns the members of a declaration; nil if it cannot be read.
local function members_of(field)
  local known, members = pcall(cjson.decode, field)
  return known and type(members) == 'table' and field:find('^%s*{') and members or nil
end

-- Returns the UID of the resource that owns a declaration; nil if none does.
local function owner_of(members)
  if members.uid == cjson.null then return nil end
  return members.uid
end

-- Returns a declaration without its member missingSince. Members are removed from the text, and not by decoding and
-- encoding it: an empty list would become an object.
local function without_missing_since(field)
  local member = '"missingSince"%s*:%s*%d+'
  for _, pattern in ipairs({ ',%s*' .. member, member .. '%s*,', member }) do
    field = field:gsub(pattern, '')
  end
  return field
end

