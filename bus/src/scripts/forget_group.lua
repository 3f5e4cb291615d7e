-- Removes the declaration of a group where no resource owns it.
--
-- KEYS  hash of declared groups
-- ARGV  group
-- Answers 1 where it was removed, 0 where there was none; else the declaration as it stands: it names an owner, or
-- cannot be read, and was left

local hash, group = KEYS[1], ARGV[1]

-- Returns the reply of a command, or raises its error.
local function checked(reply)
  if type(reply) ~= 'table' or not reply.err then return reply end
  error({ err = reply.err })
end

local function forget()
  local field = checked(redis.pcall('HGET', hash, group))
  if not field then return 0 end
  local known, declaration = pcall(cjson.decode, field)
  local unowned = known and type(declaration) == 'table'
    and (declaration.uid == nil or declaration.uid == cjson.null)
  if not unowned then return field end
  return checked(redis.pcall('HDEL', hash, group))
end

local ok, answer = pcall(forget)
if ok then return answer end
-- Some servers hand a caught error over as a text, some as the table that was thrown.
return type(answer) == 'table' and answer or redis.error_reply(answer)
