export function runningPid(name: string): number | null
export function stop(name: string, signal?: NodeJS.Signals, seconds?: number): Promise<boolean>
