/** One reason why what one side sends may not fit what the other side takes. */
export interface Incompatibility {
  /** Dotted path to the field, with `*` for the items of a list; empty for the whole body. */
  readonly path: string
  readonly problem: string
}

type Schema = Readonly<Record<string, unknown>>

/** Deepest nesting that is compared, so that a recursive schema ends. */
const DEPTH_MAX = 16
/** Reasons that are told. */
const REASONS_MAX = 20

/** The two documents, for their references. */
interface Documents {
  readonly sent: Schema
  readonly taken: Schema
}

/**
 * Why data that fits the JSON Schema of a sender may not fit that of a receiver; empty where all of it fits, as far as JSON Schema tells. It compares
 * what zod and others write: objects, lists, unions, enumerations, constants, types, bounds, patterns and formats. What it does not know counts as
 * fitting, so a reason is always a true one, and silence is no proof.
 */
export function incompatibilities(sent: Schema, taken: Schema): readonly Incompatibility[] {
  const found: Incompatibility[] = []
  compare(sent, taken, '', { sent, taken }, (path, problem) => {
    if (found.length < REASONS_MAX) found.push({ path, problem })
  }, 0)
  return found
}

type Tell = (path: string, problem: string) => void

function compare(sentRaw: unknown, takenRaw: unknown, path: string, documents: Documents, tell: Tell, depth: number): void {
  const sent = resolved(sentRaw, documents.sent)
  const taken = resolved(takenRaw, documents.taken)
  if (sent === undefined || taken === undefined || depth > DEPTH_MAX || isOpen(sent)) return
  const sentBranches = branches(sent)
  const takenBranches = branches(taken)
  if (sentBranches.length > 1 || takenBranches.length > 1) {
    for (const branch of sentBranches) compareBranch(branch, takenBranches, path, documents, tell, depth)
    return
  }
  if (!compareValues(sent, taken, path, tell)) return
  compareBounds(sent, taken, path, tell)
  compareObjects(sent, taken, path, documents, tell, depth)
  if (taken['items'] !== undefined && isObject(sent['items'])) compare(sent['items'], taken['items'], joined(path, '*'), documents, tell, depth + 1)
}

/** Fits where it fits one of the branches; else the reasons of the branch with the fewest are told. */
function compareBranch(branch: unknown, takenBranches: readonly unknown[], path: string, documents: Documents, tell: Tell, depth: number): void {
  let best: readonly Incompatibility[] | undefined
  for (const candidate of takenBranches) {
    const found: Incompatibility[] = []
    compare(branch, candidate, path, documents, (where, problem) => void found.push({ path: where, problem }), depth + 1)
    if (found.length === 0) return
    if (best === undefined || found.length < best.length) best = found
  }
  for (const { path: where, problem } of best ?? []) tell(where, problem)
}

/** Types, constants and enumerations. False where nothing further can be compared. */
function compareValues(sent: Schema, taken: Schema, path: string, tell: Tell): boolean {
  const takenValues = valuesOf(taken)
  const sentValues = valuesOf(sent)
  if (takenValues !== undefined) {
    const strange = sentValues?.filter((value) => !takenValues.includes(value))
    if (sentValues === undefined) tell(path, `it may be any ${typesOf(sent).join(' or ') || 'value'}, and only ${takenValues.join(', ')} is taken`)
    else if (strange !== undefined && strange.length > 0) tell(path, `it may be ${strange.join(', ')}, which is not taken`)
    return false
  }
  const takenTypes = typesOf(taken)
  const strange = typesOf(sent).filter((type) => takenTypes.length > 0 && !takenTypes.includes(type) && !(type === 'integer' && takenTypes.includes('number')))
  if (strange.length === 0) return true
  tell(path, `it is sent as ${strange.join(' or ')} and taken as ${takenTypes.join(' or ')}`)
  return false
}

const LOWER = ['minimum', 'exclusiveMinimum', 'minLength', 'minItems'] as const
const UPPER = ['maximum', 'exclusiveMaximum', 'maxLength', 'maxItems'] as const
const SAME = ['pattern', 'format', 'multipleOf'] as const

function compareBounds(sent: Schema, taken: Schema, path: string, tell: Tell): void {
  for (const word of LOWER) {
    const [mine, theirs] = [sent[word], taken[word]]
    if (typeof theirs === 'number' && !(typeof mine === 'number' && mine >= theirs)) tell(path, `${word} is ${theirs} for the receiver and ${shown(mine)} for the sender`)
  }
  for (const word of UPPER) {
    const [mine, theirs] = [sent[word], taken[word]]
    if (typeof theirs === 'number' && !(typeof mine === 'number' && mine <= theirs)) tell(path, `${word} is ${theirs} for the receiver and ${shown(mine)} for the sender`)
  }
  for (const word of SAME) {
    // A format comes with a pattern in some libraries: where that is the same, nothing more is asked.
    if (taken[word] !== undefined && taken[word] !== sent[word]) tell(path, `${word} is ${shown(taken[word])} for the receiver and ${shown(sent[word])} for the sender`)
  }
}

function compareObjects(sent: Schema, taken: Schema, path: string, documents: Documents, tell: Tell, depth: number): void {
  const sentFields = fieldsOf(sent)
  const takenFields = fieldsOf(taken)
  const always = textsOf(sent['required'])
  for (const name of textsOf(taken['required'])) {
    if (sentFields[name] === undefined) tell(joined(path, name), 'the receiver needs it and the sender does not know it')
    else if (!always.includes(name)) tell(joined(path, name), 'the receiver needs it and the sender may leave it out')
  }
  for (const [name, field] of Object.entries(sentFields)) {
    if (takenFields[name] !== undefined) compare(field, takenFields[name], joined(path, name), documents, tell, depth + 1)
    else if (taken['additionalProperties'] === false) tell(joined(path, name), 'the sender sends it and the receiver refuses fields that it does not know')
    else if (isObject(taken['additionalProperties'])) compare(field, taken['additionalProperties'], joined(path, name), documents, tell, depth + 1)
  }
  if (isObject(sent['additionalProperties']) && isObject(taken['additionalProperties'])) compare(sent['additionalProperties'], taken['additionalProperties'], joined(path, '*'), documents, tell, depth + 1)
}

function resolved(schema: unknown, document: Schema): Schema | undefined {
  let found: unknown = schema
  for (let hops = 0; isObject(found) && typeof found['$ref'] === 'string'; hops++) {
    const name = /^#\/\$defs\/(.+)$/.exec(found['$ref'])?.[1]
    const definitions = document['$defs']
    if (found['$ref'] === '#') found = document
    else if (name !== undefined && isObject(definitions)) found = definitions[decodeURIComponent(name)]
    else return undefined
    if (hops > DEPTH_MAX) return undefined
  }
  return isObject(found) ? found : undefined
}

/** Says nothing of what may be sent: then nothing can be said against it. */
function isOpen(schema: Schema): boolean {
  return !['type', 'properties', 'anyOf', 'oneOf', 'enum', 'const'].some((word) => word in schema)
}

function branches(schema: Schema): readonly unknown[] {
  const some = schema['anyOf'] ?? schema['oneOf']
  return Array.isArray(some) && some.length > 0 ? some : [schema]
}

function valuesOf(schema: Schema): readonly string[] | undefined {
  if ('const' in schema) return [JSON.stringify(schema['const'])]
  return Array.isArray(schema['enum']) ? schema['enum'].map((value) => JSON.stringify(value)) : undefined
}

function typesOf(schema: Schema): readonly string[] {
  const { type } = schema
  return typeof type === 'string' ? [type] : textsOf(type)
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : []
}

function fieldsOf(schema: Schema): Schema {
  return isObject(schema['properties']) ? schema['properties'] : {}
}

function isObject(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function joined(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`
}

function shown(value: unknown): string {
  return value === undefined ? 'not set' : String(JSON.stringify(value)).slice(0, 200)
}
