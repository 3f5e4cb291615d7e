-- Returns the values of a flat list of names and values by their names.
local function record(flat)
  local fields = {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

-- Returns the reply of a command. Raises its error, with `key` in the text if one is given.
local function checked(reply, key)
  if type(reply) ~= 'table' or not reply.err then return reply end
  error({ err = key and reply.err .. ' (' .. key .. ')' or reply.err })
end

-- Returns the result of `script`, or the error that it raised. Some servers pass a caught error on as text, others as
-- the raised table.
local function protected(script)
  local ok, result = pcall(script)
  if ok or type(result) == 'table' then return result end
  return redis.error_reply(result)
end

