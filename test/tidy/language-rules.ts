import { complaint, complaintsAbout, lineAt, type SourceFile } from './source-file.ts'

/** `as` to force a type, per thousand lines of a room's code. */
export const CASTS_PER_1000_LINES_MAX = 3

/** Real time, timers and chance: everywhere but in `core` they come from the host's clock and random source. */
export function determinismComplaints(file: SourceFile): readonly string[] {
  if (file.path.startsWith('src/core/')) return []
  const globals = String.raw`(?:(?<![.\w#$])|\bglobalThis\.)`
  return [
    ...complaintsAbout(file, new RegExp(String.raw`\bDate\s*\.\s*now\b|\bnew\s+Date\s*(?:\(\s*\)|(?![\s(\w]))`, 'g'), 'the time comes from the clock'),
    ...complaintsAbout(file, /\bperformance\s*\.\s*(?:now|timeOrigin)\b|\bprocess\s*\.\s*(?:hrtime|uptime)\b/g, 'the time comes from the clock'),
    ...complaintsAbout(file, new RegExp(`${globals}(?:setTimeout|setInterval|setImmediate)\\b`, 'g'), 'waiting is done by the clock'),
    ...complaintsAbout(file, /\bAbortSignal\s*\.\s*timeout\b/g, 'waiting is done by the clock'),
    ...complaintsAbout(file, /\bMath\s*\.\s*random\b/g, 'chance comes from the random source'),
    ...complaintsAbout(file, /\b(?:randomUUID|randomUUIDv7|randomBytes|randomInt|randomFill|randomFillSync|getRandomValues)\b/g, 'chance comes from the random source'),
    ...file.imports
      .filter(({ specifier }) => /^node:(?:timers|perf_hooks)/.test(specifier))
      .map((one) => complaint(file, one.line, `waiting is done by the clock: ${one.specifier}`)),
  ]
}

/** What is thrown: `TrunklineError` alone, and what was caught. */
export function throwComplaints(file: SourceFile): readonly string[] {
  const constructed = [...file.code.matchAll(/\bthrow\s+(?:new\s+([\w.]+)|(['"`\d{[]))/g)]
  return [
    ...constructed
      .filter((match) => match[1] !== 'TrunklineError')
      .map((match) => complaint(file, lineAt(file.code, match.index), `only a TrunklineError is thrown: ${match[0]}`)),
    ...complaintsAbout(file, /\breject\s*\(\s*new\s+(?!TrunklineError\b)\w+/g, 'only a TrunklineError is thrown'),
  ]
}

/** Exports that hide what is public. */
export function exportComplaints(file: SourceFile): readonly string[] {
  return [
    ...complaintsAbout(file, /\bexport\s*\*/g, 'an index lists its names'),
    ...complaintsAbout(file, /\bexport\s+default\b|\bas\s+default\b/g, 'exports have names'),
  ]
}

/** Ways round the type checker. */
export function typeEscapeComplaints(file: SourceFile): readonly string[] {
  const directives = [...file.text.matchAll(/@ts-(?:ignore|expect-error|nocheck)\b/g)]
  return [
    ...complaintsAbout(file, /(?<![.\w#$])any\b(?!\s*[?(]?:)/g, 'any is not a type here'),
    ...directives.map((match) => complaint(file, lineAt(file.text, match.index), `the checker is not silenced: ${match[0]}`)),
  ]
}

/** Notes that belong into an issue, and banners. */
export function commentComplaints(file: SourceFile): readonly string[] {
  const notes = [...file.text.matchAll(/\b(?:TODO|FIXME|XXX|HACK)\b/g)]
  const banners = [...file.text.matchAll(/^[ \t]*(?:\/\/|\*|\/\*)[ \t]*[-=*#─]{6,}/gm)]
  return [
    ...notes.map((match) => complaint(file, lineAt(file.text, match.index), `unfinished work is not left in the code: ${match[0]}`)),
    ...banners.map((match) => complaint(file, lineAt(file.text, match.index), 'no banners')),
  ]
}

/** Lines of the casts. `as` between the names of an import or export, and in a mapped type, is none. */
export function castLines(file: SourceFile): readonly number[] {
  const lists = /^[ \t]*(?:import|export)\s+(?:type\s+)?(?:\*[^\n]*|\{[^}]*\})|\[\s*\w+\s+in\s[^\]]*?\sas\s/gm
  const code = file.code.replaceAll(lists, (list) => list.replaceAll(/[^\n]/g, ' '))
  return [...code.matchAll(/(?<![.\w#$])as\s+(?!const\b)[\w{('"[]/g)].map((match) => lineAt(code, match.index))
}

/** Casts without a reason on their own line or in the three before it. */
export function castReasonComplaints(file: SourceFile): readonly string[] {
  const lines = file.text.split('\n')
  const hasReason = (line: number): boolean => lines.slice(Math.max(0, line - 4), line).some((text) => /(?:^|\s)(?:\/\/|\*)/.test(text))
  return castLines(file)
    .filter((line) => !hasReason(line))
    .map((line) => complaint(file, line, 'a cast has its reason beside it'))
}

/** One complaint where the files together have more casts than they may. */
export function castCountComplaints(files: readonly SourceFile[]): readonly string[] {
  const lines = files.reduce((sum, file) => sum + lineAt(file.text, file.text.length), 0)
  const casts = files.flatMap((file) => castLines(file).map((line) => `${file.path}:${line}`))
  const castsMax = Math.ceil((lines / 1000) * CASTS_PER_1000_LINES_MAX)
  return casts.length <= castsMax ? [] : [`${casts.length} casts in ${lines} lines, at most ${castsMax}: ${casts.join(' ')}`]
}
