--- @meta
--- What Swift provides for containers and plans. Declarations for editors and `help`; never loaded.

--- A shared object with live patch metadata.
--- @class ulp.Container
--- @field id string 64 hexadecimal digits
--- @field path string
--- @field target string the target library
--- @field build_id string
--- @field target_build_id string the build of the target library that it is made for
--- @field labels string[]
--- @field units table[] the functions it replaces
--- @field references table[] variables of the target that its code uses
--- @field constructors string[] code that runs when it is loaded
--- @field comments string
--- @field undefined string[] symbols that the process must provide: `name`, or `name@version`
--- @field needed string[] libraries that it is linked with
--- @field dependencies string[] patches that have to be applied before
local Container = {}

--- Everything that the container says, as a table.
--- @return ulp.Dump
function Container:record() end

--- What SUSE's runtime is sent to apply the patch: the metadata with a path of the container in it.
--- @param path string as the process is to open it
--- @return string
function Container:wire(path) end

--- What a change would do. `tostring(plan)` is the dry run.
--- @class ulp.Plan
--- @field pid integer
--- @field universe integer the universe in force when it was computed
--- @field empty boolean nothing is to be done
--- @field already string[] ids of containers that are in force already
--- @field lost table[] patches whose library went away and that staging writes off: `path reason`
--- @field warnings string[]
--- @field applies table[]
--- @field reverts table[]
