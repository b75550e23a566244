#pragma once
// Linux error numbers as a type of their own (asm-generic/errno.h); compiles freestanding.
#include <cstdint>

namespace kvmsbx {

enum class Errno : int32_t {
    kPERM = 1, kNOENT = 2, kSRCH = 3, kINTR = 4, kIO = 5, kNXIO = 6, k2BIG = 7, kNOEXEC = 8, kBADF = 9, kCHILD = 10,
    kAGAIN = 11, kNOMEM = 12, kACCES = 13, kFAULT = 14, kNOTBLK = 15, kBUSY = 16, kEXIST = 17, kXDEV = 18, kNODEV = 19,
    kNOTDIR = 20, kISDIR = 21, kINVAL = 22, kNFILE = 23, kMFILE = 24, kNOTTY = 25, kTXTBSY = 26, kFBIG = 27, kNOSPC = 28,
    kSPIPE = 29, kROFS = 30, kMLINK = 31, kPIPE = 32, kDOM = 33, kRANGE = 34, kDEADLK = 35, kNAMETOOLONG = 36,
    kNOLCK = 37, kNOSYS = 38, kNOTEMPTY = 39, kLOOP = 40, kNOMSG = 42, kNODATA = 61, kTIME = 62, kPROTO = 71,
    kBADMSG = 74, kOVERFLOW = 75, kUSERS = 87, kNOTSOCK = 88, kDESTADDRREQ = 89, kMSGSIZE = 90, kPROTOTYPE = 91,
    kNOPROTOOPT = 92, kPROTONOSUPPORT = 93, kOPNOTSUPP = 95, kAFNOSUPPORT = 97, kADDRINUSE = 98, kADDRNOTAVAIL = 99,
    kNETDOWN = 100, kNETUNREACH = 101, kCONNABORTED = 103, kCONNRESET = 104, kNOBUFS = 105, kISCONN = 106,
    kNOTCONN = 107, kTIMEDOUT = 110, kCONNREFUSED = 111, kHOSTUNREACH = 113, kALREADY = 114, kINPROGRESS = 115,
    kSTALE = 116, kDQUOT = 122, kCANCELED = 125, kOWNERDEAD = 130, kNOTRECOVERABLE = 131,
    // Restart codes of include/linux/errno.h: they never leave the Sentry's system-call dispatch.
    kRESTARTSYS = 512, kRESTARTNOINTR = 513, kRESTARTNOHAND = 514, kRESTART_RESTARTBLOCK = 516,
};

}  // namespace kvmsbx
