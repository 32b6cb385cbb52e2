import { posix } from 'node:path'
import { complaint, type Import, type SourceFile } from './source-file.ts'

type Room =
  | 'core' | 'contract' | 'bus' | 'store' | 'outbox' | 'saga' | 'discovery' | 'resilience'
  | 'adapters' | 'gateway' | 'console' | 'cli' | 'testing'

const SHOWN: readonly Room[] = ['core', 'contract', 'bus', 'store', 'outbox', 'saga', 'discovery', 'resilience']

/** What each room may import beside itself. Adapters and the entry point have rules of their own below. */
const ARROWS: Readonly<Record<Exclude<Room, 'adapters'>, readonly Room[]>> = {
  core: [],
  contract: ['core'],
  bus: ['core', 'contract'],
  store: ['core', 'contract'],
  outbox: ['core', 'contract', 'bus', 'store'],
  saga: ['core', 'contract', 'bus', 'store', 'outbox'],
  discovery: ['core', 'contract', 'bus', 'store'],
  resilience: ['core', 'contract', 'bus', 'store'],
  gateway: SHOWN,
  console: SHOWN,
  cli: [...SHOWN, 'gateway', 'console'],
  testing: SHOWN,
}

/** Packages of a technology, and the one adapter folder that may name them. */
const CLIENTS: readonly { readonly pattern: RegExp; readonly folder: string; readonly isBuiltIn?: true }[] = [
  { pattern: /^(nats|@nats-io\/.*)$/, folder: 'nats' },
  { pattern: /^amqplib(\/.*)?$/, folder: 'rabbitmq' },
  { pattern: /^node:sqlite$/, folder: 'sqlite', isBuiltIn: true },
  { pattern: /^better-sqlite3$/, folder: 'sqlite' },
  { pattern: /^pg(\/.*)?$/, folder: 'postgres' },
  { pattern: /^(@kurrent\/.*|@eventstore\/.*)$/, folder: 'eventstoredb' },
]

/** Packages that any room may import. Everything else needs a decision, and a line here. */
const OPEN_PACKAGES: readonly RegExp[] = [/^node:(?!test$|sqlite$)/, /^croner$/, /^pino$/, /^semver$/, /^zod$/, /^@standard-schema\/spec$/]

/** Arrows between the rooms: what an import may reach. */
export function arrowComplaints(file: SourceFile): readonly string[] {
  return file.imports.flatMap((one) => {
    const target = resolve(file, one)
    const problem = target === undefined ? undefined : arrowProblem(file.path, target, one)
    return problem === undefined ? [] : [complaint(file, one.line, `${problem}: ${one.specifier}`)]
  })
}

/** Who may import which package, and how: an optional peer must not load, nor show in the types, before it is wanted. */
export function packageComplaints(file: SourceFile): readonly string[] {
  return file.imports.flatMap((one) => {
    const problem = one.specifier.startsWith('.') ? undefined : packageProblem(file.path, one)
    return problem === undefined ? [] : [complaint(file, one.line, `${problem}: ${one.specifier}`)]
  })
}

/** Relative imports that name no file, or leave out `.ts`. */
export function unresolvedComplaints(files: readonly SourceFile[]): readonly string[] {
  const paths = new Set(files.map((file) => file.path))
  return files.flatMap((file) =>
    file.imports.flatMap((one) => {
      const target = resolve(file, one)
      return target === undefined || paths.has(target) ? [] : [complaint(file, one.line, `no such file: ${one.specifier}`)]
    }),
  )
}

/** Circles of imports, those of types included, each told once with all its files. */
export function cycleComplaints(files: readonly SourceFile[]): readonly string[] {
  const targets = new Map(files.map((file) => [file.path, targetsOf(file)]))
  const done = new Set<string>()
  const trail: string[] = []
  const found: string[] = []
  const visit = (path: string): void => {
    const start = trail.indexOf(path)
    if (start >= 0) found.push(`${[...trail.slice(start), path].join(' → ')} is a circle`)
    if (start >= 0 || done.has(path)) return
    trail.push(path)
    for (const target of targets.get(path) ?? []) visit(target)
    trail.pop()
    done.add(path)
  }
  for (const file of files) visit(file.path)
  return found
}

function targetsOf(file: SourceFile): readonly string[] {
  return file.imports.flatMap((one) => resolve(file, one) ?? [])
}

function resolve(file: SourceFile, one: Import): string | undefined {
  return one.specifier.startsWith('.') ? posix.join(posix.dirname(file.path), one.specifier) : undefined
}

function arrowProblem(from: string, to: string, one: Import): string | undefined {
  if (!to.startsWith('src/')) return 'the library imports only from src'
  const source = placeOf(from)
  const target = placeOf(to)
  if (source.room === undefined) return from === 'src/index.ts' ? entryProblem(target) : 'only src/index.ts stands outside the rooms'
  if (target.room === undefined) return 'nothing imports the entry point'
  if (source.room === 'adapters') return isComposition(from, to) ? undefined : adapterProblem(source, target, to)
  if (source.room === target.room) return undefined
  if (target.room === 'adapters') return intoAdapterProblem(source.room, target, one)
  if (isRoom(source.room) && ARROWS[source.room].some((room) => room === target.room)) return undefined
  return `${source.room} must not import ${target.room}`
}

function entryProblem(target: Place): string | undefined {
  const isComposed = SHOWN.some((room) => room === target.room)
  return isComposed ? undefined : `the entry point must not import ${target.room ?? 'itself'}`
}

/** One file of an adapter puts its database together with the rooms that make a store of it, as the entry point composes the library. */
function isComposition(from: string, to: string): boolean {
  return /^src\/adapters\/(\w+)\/\1-composed\.ts$/.test(from) && /^src\/outbox\/store(?:-options)?\.ts$/.test(to)
}

function adapterProblem(source: Place, target: Place, to: string): string | undefined {
  if (target.room === 'adapters') return source.folder === target.folder ? undefined : `adapter ${source.folder} must not import adapter ${target.folder}`
  if (target.room === 'core' || target.room === 'contract') return undefined
  if (/^src\/\w+\/port\.ts$/.test(to) || /^src\/(bus|outbox)\/protocol\//.test(to)) return undefined
  return 'an adapter imports core, contract, ports and protocols only'
}

function intoAdapterProblem(room: string, target: Place, one: Import): string | undefined {
  if (room === 'testing' && target.folder === 'memory') return undefined
  if (room === 'cli' && one.kind === 'dynamic') return undefined
  return `${room} must not import an adapter`
}

function packageProblem(from: string, one: Import): string | undefined {
  if (OPEN_PACKAGES.some((pattern) => pattern.test(one.specifier))) return undefined
  const client = CLIENTS.find(({ pattern }) => pattern.test(one.specifier))
  if (client === undefined) return 'a package that no rule knows'
  if (!from.startsWith(`src/adapters/${client.folder}/`)) return `only adapters/${client.folder} may name this client`
  if (one.kind === 'value' && client.isBuiltIn === undefined) return 'an optional peer is imported when a connection is opened, not before'
  return undefined
}

interface Place {
  readonly room: string | undefined
  /** The technology, for an adapter. */
  readonly folder: string | undefined
}

function placeOf(path: string): Place {
  const [, room, folder, ...rest] = path.split('/')
  if (folder === undefined) return { room: undefined, folder: undefined }
  return { room, folder: room === 'adapters' && rest.length > 0 ? folder : undefined }
}

function isRoom(room: string): room is keyof typeof ARROWS {
  return Object.hasOwn(ARROWS, room)
}
